"""The rows of a run as one immutable value that narrows, folds, displays and exports itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

from opskit.frames.results import gathered_frame, results_frame
from opskit.results import exports
from opskit.results.failure import failure
from opskit.results.gather import grouped, names, outcome
from opskit.results.html import as_html
from opskit.results.result import WORST_FIRST, HostResult, Status
from opskit.results.text import as_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike

    import pandas as pd


@dataclass(frozen=True, slots=True, repr=False)
class Results(Sequence[HostResult]):
    """What came back: a sequence of `HostResult`, in the order of the plan.

    Attributes:
        rows: The same, as a tuple.
    """

    rows: tuple[HostResult, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> HostResult: ...
    @overload
    def __getitem__(self, index: slice) -> Results: ...
    def __getitem__(self, index: int | slice) -> HostResult | Results:
        return Results(self.rows[index]) if isinstance(index, slice) else self.rows[index]

    def __repr__(self) -> str:
        """A folded table as text, failures first."""
        return as_text(self.rows)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:  # noqa: ARG002 - IPython's signature
        return {"text/html": as_html(self.rows), "text/plain": as_text(self.rows)}

    @property
    def df(self) -> pd.DataFrame:
        """A new DataFrame, one row for each row, in order, with the contract's columns and dtypes."""
        return results_frame(self.rows, WORST_FIRST)

    def where(self, *statuses: Status) -> Results:
        """Keep the rows whose status is one of these words.

        Raises:
            ValueError: A word is no status.
        """
        if unknown := set(statuses) - set(WORST_FIRST):
            raise ValueError(f"no status: {', '.join(sorted(map(repr, unknown)))}; known: {', '.join(WORST_FIRST)}")
        return Results(tuple(row for row in self.rows if row.status in statuses))

    @property
    def ok(self) -> Results:
        """The rows whose status is `ok`."""
        return self.where("ok")

    @property
    def failed(self) -> Results:
        """The rows whose status is `failed`; neither `timeout`, nor `unreachable`, nor `unknown`."""
        return self.where("failed")

    @property
    def unreachable(self) -> Results:
        """The rows whose status is `unreachable`."""
        return self.where("unreachable")

    @property
    def hosts(self) -> tuple[str, ...]:
        """The names of the hosts, each once, in order."""
        return names(self.rows)

    @property
    def by_host(self) -> Mapping[str, Results]:
        """Each host's rows, in order. A task's row has no host, and is not in it."""
        found: dict[str, list[HostResult]] = {name: [] for name in self.hosts}
        for row in self.rows:
            if row.host:
                found[row.host].append(row)
        return {name: Results(tuple(rows)) for name, rows in found.items()}

    def raise_for_failed(self) -> None:
        """Do nothing if no row is failed, timeout, unreachable or unknown.

        Raises:
            CommandError: Some rows are. If they all have one fate it is that fate's subclass: UnreachableError,
                HostKeyError, AuthenticationError, TimeoutExceeded. It carries these results, the good rows too.
        """
        if error := failure(self):
            raise error

    def gather(self) -> pd.DataFrame:
        """Fold rows of one outcome, the most serious first, then those of the most hosts.

        Returns one row for each distinct output, status, exit code, signal and error line, with the columns `hosts`
        (folded: `web[1-20],db1`), `count` (of rows), `status`, `exit_code`, `signal`, `stdout`, `stderr`, `error`.
        """
        groups = grouped(self.rows, outcome)
        records = [
            (group.hosts, len(group.rows), row.status, row.exit_code, row.signal, row.stdout, row.stderr, row.error)
            for group in groups
            for row in (group.first,)
        ]
        return gathered_frame(records, WORST_FIRST)

    def to_markdown(self, path: str | PathLike[str] | None = None) -> str:
        """Return the folded table as Markdown, for a ticket; also write it to `path`.

        Long outputs are cut; `.df` has all of them.
        """
        return exports.to_markdown(self.rows, path)

    def to_excel(self, path: str | PathLike[str]) -> None:
        """Write every row to an Excel file: no formulas, times in UTC, cells of at most 32,767 characters.

        Raises:
            OpskitError: openpyxl is not installed.
        """
        exports.to_excel(self.rows, path)

    def to_parquet(self, path: str | PathLike[str]) -> None:
        """Write `.df` to a Parquet file.

        Raises:
            OpskitError: pyarrow is not installed.
        """
        exports.to_parquet(self, path)
