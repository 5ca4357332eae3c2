"""What the command line says, on which stream, and by which exit code: the answer to stdout, all else to stderr."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, Final, TextIO

from opskit.frames.results import COLUMNS
from opskit.rendering.escape import terminal

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from opskit.results import HostResult, Results

OK, FAILED, BAD_INPUT, UNREACHABLE, ROLLED_BACK, INCOMPLETE = range(6)
CANCELLED: Final = 130


def complain(error: BaseException) -> None:
    """Say on stderr what went wrong, and its notes; of a run only the first line, its rows say the rest."""
    text = str(error) or "interrupted"
    said = text.partition("\n")[0] if hasattr(error, "results") else text
    for line in [said, *getattr(error, "__notes__", ())]:
        write(f"opskit: {terminal(line)}", sys.stderr)


def code_of(rows: Results) -> int:
    """The exit code of rows where nothing else decides it."""
    fates = {row.status for row in rows if row.bad}
    if fates == {"unreachable"}:
        return UNREACHABLE
    return FAILED if fates else OK


def print_document(rows: Iterable[object], error: BaseException | None = None, **more: object) -> bool:
    """Write the document of `--json`, and whether that could be done."""
    document: dict[str, object] = {"rows": list(rows), **more, "error": None}
    if error is not None:
        message = "\n".join([str(error) or "interrupted", *getattr(error, "__notes__", ())])
        document["error"] = {"type": type(error).__name__, "message": message}
    return write(json.dumps(document, indent=1, default=_time), sys.stdout)


def json_row(row: HostResult) -> dict[str, Any]:
    """A row as the document has it."""
    return {name: getattr(row, name) for name in COLUMNS}


def _time(value: datetime) -> str:
    return value.isoformat()


def write(text: str, stream: TextIO | None) -> bool:
    """Write a line, and whether that could be done. Who reads no further, as `head` does, does no harm."""
    try:
        if stream is not None:  # as where a shell's `>&-` has closed it
            print(text, file=stream, flush=True)
    except BrokenPipeError:
        return True
    except OSError as error:
        if stream is not sys.stderr:
            write(f"opskit: the answer can't be written: {error.strerror}", sys.stderr)
        return False
    return True
