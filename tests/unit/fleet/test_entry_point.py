"""Inventories in formats of other packages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from opskit.errors import InventoryError
from opskit.fleet import Host, Inventory, load_inventory

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Load = Callable[[str], Inventory]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Load:
    """Read a file with the suffix .hcl by a function whose body is given, of a package that is installed."""
    module = f"reader_{abs(hash(request.node.name))}"  # a module is imported once

    def read(body: str) -> Inventory:
        (tmp_path / f"{module}.py").write_text(f"import opskit\ndef read(path):\n    {body}\n")
        metadata = tmp_path / f"{module}-1.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1\n")
        points = f"[opskit.inventories]\nhcl = {module}:read\nyaml = {module}:read\n"
        (metadata / "entry_points.txt").write_text(points)
        monkeypatch.syspath_prepend(tmp_path)
        (tmp_path / "hosts.HCL").write_text("a,b")
        return load_inventory(tmp_path / "hosts.HCL")

    return read


@pytest.mark.parametrize(
    "body",
    [
        "return opskit.Inventory(opskit.Host(name, user='ops') for name in path.read_text().split(','))",
        "return [opskit.Host('a', user='ops'), {'name': 'b', 'user': 'ops', 'port': ''}]",
        "yield from ({'name': name, 'user': 'ops'} for name in 'ab')",
    ],
)
def test_a_package_reads_its_format(load: Load, body: str) -> None:
    """A callable of the group `opskit.inventories` takes the path; it gives an inventory, hosts or mappings."""
    assert load(body) == Inventory([Host("a", user="ops"), Host("b", user="ops")])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("return 5", "it must give an Inventory, hosts or mappings, not int"),
        ("return {'a': {}}", "it must give an Inventory, hosts or mappings, not dict"),
        ("return ['a']", "an inventory is made of hosts: 'a' .str. is no Host"),
        ("return [{'name': 'a'}, {'name': 'b c'}]", "item 2: a host's name can't be 'b c'"),
        ("return [opskit.Host('a'), opskit.Host('a')]", "two hosts are called 'a'"),
        ("yield 1 / 0", "ZeroDivisionError"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
    ],
)
def test_failures_name_the_entry_point_and_the_cause(load: Load, body: str, message: str) -> None:
    """Whatever goes wrong in another package is an InventoryError that says in which, and what."""
    with pytest.raises(
        InventoryError, match=rf"hosts\.HCL: hcl = reader_\d+:read \(entry point of opskit\.inventories\): {message}"
    ):
        load(body)


def test_no_hosts(load: Load) -> None:
    """B12: none is an error here too."""
    with pytest.raises(InventoryError, match="no hosts"):
        load("return []")


def test_our_suffixes_are_ours(load: Load, tmp_path: Path) -> None:
    """A package does not take over a format of ours."""
    with pytest.raises(InventoryError, match="division"):
        load("1 / 0")
    (tmp_path / "a.yaml").write_text("hosts: {x: }")
    assert load_inventory(tmp_path / "a.yaml").names == ("x",)
