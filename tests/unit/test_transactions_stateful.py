"""Transactions against a simple model: nested, left well or badly, on hosts that fail, are away and come back."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple
from unittest.mock import patch

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

import opskit
from opskit import Host, Inventory, shared
from opskit.errors import CommandError, RollbackError
from opskit.record.standing import is_owed
from opskit.testing import Reply, ScriptedTransport

if TYPE_CHECKING:
    from opskit.transactions import Transaction

NAMES = ("a", "b", "c")
FLEET = Inventory([Host(name) for name in NAMES])


class Done(NamedTuple):
    """What was sent, or registered, and is to be undone."""

    host: str
    number: int


class Transactions(RuleBasedStateMachine):
    """One transaction, and what the model says is owed of each open block of it, oldest first."""

    def __init__(self) -> None:
        super().__init__()
        self.away: set[str] = set()
        self.broken: set[str] = set()
        self.numbers = iter(range(10_000))
        self.transport = ScriptedTransport(self.answer)
        self.scopes = [
            patch.object(shared, "transport", lambda *_: self.transport),
            opskit.use(FLEET),
            opskit.configure(connect_timeout=1),
        ]
        for scope in self.scopes:
            scope.__enter__()  # type: ignore[attr-defined]  # all are context managers
        self.root = opskit.transaction().__enter__()
        self.blocks: list[tuple[Transaction, list[Done]]] = [(self.root, [])]
        self.over = False

    def answer(self, host: str, command: str) -> Reply:
        """A host that is away can't be reached; one that is broken does nothing well."""
        if not command:
            return Reply(unreachable="it is away" if host in self.away else None)
        return Reply(exit_code=1 if host in self.broken else 0)

    def teardown(self) -> None:
        """Leave all blocks."""
        if not self.over:
            for block, _ in reversed(self.blocks):
                block.__exit__(None, None, None)
        for scope in reversed(self.scopes):
            scope.__exit__(None, None, None)  # type: ignore[attr-defined]  # as above

    def undone(self, owed: list[Done]) -> list[Done]:
        """What a rollback of these sends and is answered well now: the model of it."""
        return [done for done in owed if done.host not in self.away | self.broken]

    @precondition(lambda self: not self.over)
    @rule(hosts=st.sets(st.sampled_from(NAMES), min_size=1))
    def run(self, hosts: set[str]) -> None:
        """A command is owed on the hosts that it was sent to, also where it failed."""
        number = next(self.numbers)
        with suppress(CommandError):
            opskit.run(f"do {number}", undo=f"undo {number}", hosts=sorted(hosts))
        self.blocks[-1][1].extend(Done(host, number) for host in sorted(hosts - self.away))

    @precondition(lambda self: not self.over)
    @rule(host=st.sampled_from(NAMES))
    def register(self, host: str) -> None:
        """A command that is registered is owed, whatever its host does now."""
        number = next(self.numbers)
        opskit.on_rollback(f"undo {number}", hosts=host)
        self.blocks[-1][1].append(Done(host, number))

    @precondition(lambda self: not self.over)
    @rule()
    def enter(self) -> None:
        """A block inside begins with nothing owed."""
        self.blocks.append((opskit.transaction().__enter__(), []))

    @precondition(lambda self: not self.over and len(self.blocks) > 1)
    @rule()
    def leave_well(self) -> None:
        """What a block inside did is the outer one's to undo."""
        block, owed = self.blocks.pop()
        block.__exit__(None, None, None)
        self.blocks[-1][1].extend(owed)

    @precondition(lambda self: not self.over)
    @rule()
    def leave_badly(self) -> None:
        """An exception undoes the block alone, newest first; what can't be undone stays owed to the outer one."""
        block, owed = self.blocks.pop()
        sent = len(self.transport.sent)
        error = ValueError("no")
        block.__exit__(ValueError, error, None)
        self.expect_undos(owed, sent)
        left = [done for done in owed if done not in self.undone(owed)]
        assert ("incomplete" in error.__notes__[0]) == bool(left)
        if self.blocks:
            self.blocks[-1][1].extend(left)
        else:
            self.over, self.blocks = True, [(self.root, left)]

    @precondition(lambda self: self.over)
    @rule()
    def roll_back_again(self) -> None:
        """A second rollback sends just what is left; one of what was undone is refused."""
        owed, sent = self.blocks[0][1], len(self.transport.sent)
        left = [done for done in owed if done not in self.undone(owed)]
        refused = ""
        try:
            self.root.rollback()
        except RollbackError as error:
            refused = str(error)
        assert bool(refused) == bool(left) or "was rolled back by" in refused
        self.expect_undos(owed, sent)
        self.blocks = [(self.root, left)]

    @rule(host=st.sampled_from(NAMES))
    def go_away(self, host: str) -> None:
        """A host can't be reached any more."""
        self.away.add(host)

    @rule(host=st.sampled_from(NAMES))
    def break_down(self, host: str) -> None:
        """A host fails at everything."""
        self.broken.add(host)

    @rule()
    def mend(self) -> None:
        """All hosts are there, and well."""
        self.away.clear()
        self.broken.clear()

    def expect_undos(self, owed: list[Done], since: int) -> None:
        """Each host was sent the undos that it is owed, each once, the newest first."""
        sent = self.transport.sent[since:]
        for name in NAMES:
            expected = [f"undo {done.number}" for done in reversed(owed) if done.host == name and name not in self.away]
            assert [command for host, command in sent if host == name] == expected

    @invariant()
    def the_journal_agrees(self) -> None:
        """What the journal says is owed is what the model says."""
        if not self.root.scope.root.written:
            return
        accounts = self.root.scope.root.store.accounts(self.root.scope.root.id)
        owed = sorted(account.entry.undo or "" for account in accounts if is_owed(account))
        assert owed == sorted(f"undo {done.number}" for _, block in self.blocks for done in block)


TestTransactions = Transactions.TestCase
TestTransactions.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
