"""The rows of a run as one immutable value that narrows, folds, displays and exports itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, overload

from opskit.errors import PlanError
from opskit.frames.parsed import joined_frame, parsed_frame
from opskit.frames.results import CHANGE_COLUMNS, DIFFERENCE_COLUMNS, GATHERED_COLUMNS, records_frame, results_frame
from opskit.results import exports, report
from opskit.results.differences import CHANGES, between_hosts, between_runs
from opskit.results.failure import failure
from opskit.results.gather import grouped, names, outcome
from opskit.results.html import as_html
from opskit.results.parsing import Parser, check_parser, parsed
from opskit.results.result import RETRIED, WORST_FIRST, HostResult, Status
from opskit.results.text import as_text
from opskit.results.timeline import Timeline

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Iterable, Mapping
    from os import PathLike

    import pandas as pd


@dataclass(frozen=True, slots=True, repr=False)
class Results(Sequence[HostResult]):
    """What came back: a sequence of `HostResult`, in the order of the plan.

    Attributes:
        rows: The same, as a tuple.
        parser: What `.df` parses stdout with; None if it does not.
        again: Runs what made some of these rows again; None if they came from no run of this process.
        commands: Where these are the rows of tasks: the rows of every command that they ran, in order; else None.
    """

    rows: tuple[HostResult, ...] = ()
    parser: Parser | None = field(default=None, compare=False, kw_only=True)
    again: Callable[[Sequence[HostResult]], Results] | None = field(default=None, compare=False, kw_only=True)
    commands: Results | None = field(default=None, compare=False, kw_only=True)

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> HostResult: ...
    @overload
    def __getitem__(self, index: slice) -> Results: ...
    def __getitem__(self, index: int | slice) -> HostResult | Results:
        return self._narrowed(self.rows[index]) if isinstance(index, slice) else self.rows[index]

    def __repr__(self) -> str:
        """A folded table as text, failures first."""
        return as_text(self.rows)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:  # noqa: ARG002 - IPython's signature
        return {"text/html": as_html(self.rows), "text/plain": as_text(self.rows)}

    @property
    def df(self) -> pd.DataFrame:
        """A new DataFrame, one row for each row, in order, with the contract's columns and dtypes.

        With a parser the fields of its records follow, one row for each record, or for each row without one; see
        `parse`. A field that is called as one of the contract's columns gets the suffix `_parsed`.
        """
        if self.parser is None:
            return results_frame(self.rows, WORST_FIRST)
        return joined_frame(parsed(self.rows, self.parser), WORST_FIRST, typed=self.parser.typed)

    def where(self, *statuses: Status) -> Results:
        """Keep the rows whose status is one of these words.

        Raises:
            ValueError: A word is no status.
        """
        if unknown := set(statuses) - set(WORST_FIRST):
            raise ValueError(f"no status: {', '.join(sorted(map(repr, unknown)))}; known: {', '.join(WORST_FIRST)}")
        return self._narrowed(tuple(row for row in self.rows if row.status in statuses))

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
        return {name: self._narrowed(tuple(rows)) for name, rows in found.items()}

    def raise_for_failed(self) -> None:
        """Do nothing if no row is failed, timeout, unreachable or unknown.

        Raises:
            CommandError: Some rows are. If they all have one fate it is that fate's subclass: UnreachableError,
                HostKeyError, AuthenticationError, TimeoutExceeded. It carries these results, the good rows too.
        """
        if error := failure(self):
            raise error

    def retry_failed(self) -> Results:
        """Run again what failed, timed out, was cancelled, could not be reached or was not started.

        What is unknown may have run: it is left alone, and `retry(status=["unknown"])` names it.

        Returns the rows of the new run, of these hosts alone; `attempt` counts on. Raises as the run itself does.
        """
        return self.retry(status=RETRIED)

    def retry(self, *, status: Iterable[Status]) -> Results:
        """Run again the rows whose status is one of these words; see `retry_failed`.

        Raises:
            PlanError: These rows came from no run of this process, or their run still goes on; a word is no status.
        """
        if self.again is None:
            raise PlanError("these rows can't be run again: they came from no run of this process")
        try:
            wanted = self.where(*([status] if isinstance(status, str) else status))
        except ValueError as error:
            raise PlanError(f"retry: {error}") from None
        return self.again(wanted.rows) if wanted else wanted

    def __reduce__(self) -> tuple[Callable[[], Results], tuple[()]]:
        """Pickle the rows, and those of commands: a run and a parser stay in their process."""
        return partial(Results, self.rows, commands=self.commands), ()

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
        return records_frame(records, GATHERED_COLUMNS, {"status": WORST_FIRST})

    def parse(self, parser: str | re.Pattern[str] | Callable[[str], Any] | Parser) -> pd.DataFrame:
        r"""Turn stdout into columns: one row for each record that it holds.

        Returns the columns `host`, `branch` if there is one, then the records' fields as they are met, those of nested
        objects as `outer.inner`, then `error` if there is one. A field called `host`, `branch` or `error` gets the
        suffix `_parsed`. A row that is not ok, and one whose stdout can't be parsed, has one row, whose `error` says
        why; one whose stdout tells of nothing (no match, an empty list) has none.

        Args:
            parser: `"json"`: a value, a list of objects, or one value a line; what is no object is the field `value`.
                `"csv"`: a header, then lines, split at `,`, `;` or tab. A pattern with named groups,
                `r"^(?P<user>\w+) (?P<seconds>\d+)$"`: each match, `^` and `$` at each line if it is text. Plain numbers
                of these two become numbers, a column at a time. A function, called with stdout, returns a mapping, a
                value, several, a DataFrame or None. Any other name is a parser of jc: `"df"`, `"ps"`, `"ls"`.

        Raises:
            PlanError: `parser` is none of those.
            OpskitError: jc is not installed.
        """
        try:
            checked = check_parser(parser)
        except ValueError as error:
            raise PlanError(f"parse: parser={parser!r} {error}") from None
        return parsed_frame(parsed(self.rows, checked), typed=checked.typed)

    def diff(self, reference: str | None = None) -> pd.DataFrame:
        """Compare the hosts: one row for each way in which some of them differ from `reference`, branch by branch.

        Returns the columns `branch` if there is one, `hosts` (folded), `count`, then how they ended: `status`,
        `exit_code`, `signal`, and `diff`, a unified diff of stdout. What most hosts share comes first; those that are
        like the reference come last, and their `diff` is empty, as it is where only the ends differ. In a branch that
        the reference has no row of there is nothing to compare, and `diff` is missing. Tasks are left out. Of outputs
        of more than 5,000 lines the first differing lines are shown.

        Args:
            reference: A host's name; it is not in the frame. None: in each branch the outcome of most hosts, of those
                that are ok if any are; every host is in the frame.

        Raises:
            InventoryError: There is no such host in these results.
        """
        records = between_hosts(self.rows, reference)
        frame = records_frame(records, DIFFERENCE_COLUMNS, {"status": WORST_FIRST})
        return frame if frame["branch"].notna().any() else frame.drop(columns="branch")

    def compare(self, earlier: Results | Iterable[HostResult]) -> pd.DataFrame:
        """Compare with an earlier run: one row for each host and branch whose outcome has changed; none if none has.

        Returns the columns `host`, `branch`, `change` (`appeared`, `gone`, `status`, `exit_code` or `output`: the first
        that applies), `before` and `after` (a status; of a changed exit code `exit 3` or `signal KILL`) and `diff`, a
        unified diff of stdout, empty if that is the same. stderr and times are not compared. Several rows of one host
        and branch are compared in their order.

        Raises:
            PlanError: `earlier` is neither Results nor a list of rows.
        """
        return records_frame(between_runs(self.rows, earlier), CHANGE_COLUMNS, {"change": CHANGES})

    def report(self, path: str | PathLike[str], *, title: str | None = None) -> None:
        """Write one HTML file that anybody can open: counts, a timeline, the folded table, and all of each host.

        It has no scripts and fetches nothing. It stays below some 20 MB: where outputs would take more, the longest
        are cut, and say so; where very much of them is coloured, the longest lose their colours.

        Args:
            path: The file; one that exists is replaced.
            title: What stands on top; None: what the rows are, such as `Results of 60 hosts`.

        Raises:
            PlanError: The title is no text, or empty.
            OpskitError: The file can't be written.
        """
        report.write(self, path, title)

    def plot(self) -> Timeline:
        """When each command ran: a timeline, one line a host, that displays itself; `.save("x.svg")` writes it."""
        return Timeline(self.rows)

    def to_markdown(self, path: str | PathLike[str] | None = None) -> str:
        """Return the folded table as Markdown, for a ticket; also write it to `path`.

        Long outputs are cut; `.df` has all of them.

        Raises:
            OpskitError: The file can't be written.
        """
        return exports.to_markdown(self.rows, path)

    def to_excel(self, path: str | PathLike[str]) -> None:
        """Write every row to an Excel file: no formulas, times in UTC, cells of at most 32,767 characters.

        Raises:
            OpskitError: openpyxl is not installed; the file can't be written.
        """
        exports.to_excel(self.rows, path)

    def to_parquet(self, path: str | PathLike[str]) -> None:
        """Write `.df` to a Parquet file.

        Raises:
            OpskitError: pyarrow is not installed; a parsed column's values are too unlike each other; the file can't be
                written.
        """
        exports.to_parquet(self, path)

    def _narrowed(self, rows: tuple[HostResult, ...]) -> Results:
        return replace(self, rows=rows)
