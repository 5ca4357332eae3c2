"""Who: hosts, the inventory that holds them, its readers, and how some of them are selected."""

from opskit.fleet.host import Host
from opskit.fleet.inventory import Inventory
from opskit.fleet.readers import load_inventory

__all__ = ["Host", "Inventory", "load_inventory"]
