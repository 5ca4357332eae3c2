"""Steps and registered undos as entries of the journal, without any secret's value."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opskit.masking import mask
from opskit.record.facts import Entry
from opskit.work.kept import packed_secrets, packed_terms, packed_way

if TYPE_CHECKING:
    from opskit.work.plan import Step
    from opskit.work.terms import Terms

PackedTerms = dict[int, str]
"""Terms that were packed already, by identity: many steps share one."""


def entry_of(step: Step, transaction: str, seq: int, part: int, packed: PackedTerms) -> Entry:
    """A step that is planned; what its undo needs is there only if it has one."""
    undo = step.undoing() if step.undo is not None else None
    return Entry(
        transaction,
        seq,
        part,
        step.host.name,
        None if undo is None else packed_way(step.host),
        step.chunk,
        step.branch and mask(step.branch),
        mask(step.command),
        None if undo is None else mask(undo.command),
        None if undo is None else _packed(undo.terms, packed),
        None if undo is None else packed_secrets(undo.secrets),
        None,
        step.key,
        step.undo_once,
    )


def entry_of_undo(undo: Step, transaction: str, seq: int, part: int, packed: PackedTerms) -> Entry:
    """A command that undoes what no step did."""
    return Entry(
        transaction,
        seq,
        part,
        undo.host.name,
        packed_way(undo.host),
        undo.chunk,
        undo.branch and mask(undo.branch),
        None,
        mask(undo.command),
        _packed(undo.terms, packed),
        packed_secrets(undo.secrets),
        None,
        None,
        undo.undo_once,
    )


def entry_of_call(words: str, packed: str | None, transaction: str, seq: int, part: int) -> Entry:
    """A function that undoes something: in words, and packed if another process can call it."""
    return Entry(
        transaction, seq, part, None, None, 1, None, None, mask(words), None, None, packed, None, undo_once=False
    )


def _packed(terms: Terms, packed: PackedTerms) -> str:
    if id(terms) not in packed:
        packed[id(terms)] = packed_terms(terms)
    return packed[id(terms)]
