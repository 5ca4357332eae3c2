"""What came back: one row for each command on each host, as values that fold, display and export themselves."""

from opskit.results.parsing import Parser, check_parser
from opskit.results.result import BAD, WORST_FIRST, Cause, HostResult, Status
from opskit.results.results import Results

__all__ = ["BAD", "WORST_FIRST", "Cause", "HostResult", "Parser", "Results", "Status", "check_parser"]
