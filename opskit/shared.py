"""What all runs of a process share: open connections, passwords that worked, and who writes the journal."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from opskit.settings import current

if TYPE_CHECKING:
    from opskit import bridge
    from opskit.engine.ports import Ask, Transport
    from opskit.record.recorder import Writer
    from opskit.record.store import Store
    from opskit.settings import Settings
    from opskit.transport.passwords import Passwords
    from opskit.transport.ssh import Pool

_kept: dict[bridge.EngineLoop, tuple[Pool, Passwords]] = {}
_writers: dict[tuple[bridge.EngineLoop, Store], Writer] = {}
_guard = threading.Lock()


def transport(engine: bridge.EngineLoop, settings: Settings, ask: Ask) -> Transport:
    """Every way to reach hosts, over the connections and with the passwords that this process has."""
    from opskit.transport.local import LocalTransport
    from opskit.transport.passwords import Passwords
    from opskit.transport.router import Router
    from opskit.transport.ssh import Pool, SshTransport

    with _guard:
        if engine not in _kept:
            _kept.clear()
            _kept[engine] = Pool(), Passwords()
        pool, passwords = _kept[engine]
    trials = passwords.of_run(settings, ask)
    return Router(SshTransport(pool, settings, trials), LocalTransport(trials))


def store() -> Store:
    """The journal's store, as the settings name it; raises JournalError, SettingsError."""
    from opskit.record.store import opened

    return opened(current().journal)


def writer(engine: bridge.EngineLoop, store: Store) -> Writer:
    """Who writes to this store for all that runs on this loop."""
    from opskit.record.recorder import Writer

    with _guard:
        if (engine, store) not in _writers:
            for known, other in list(_writers):
                if not known.usable:
                    del _writers[known, other]
            _writers[engine, store] = Writer(store)
        return _writers[engine, store]
