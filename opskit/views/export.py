"""The Export button: writes the rows to a file in the kernel's working folder, in the form that is chosen."""

from __future__ import annotations

from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ipywidgets import HBox  # type: ignore[import-untyped]  # it has no types

from opskit.errors import OpskitError
from opskit.results import Results

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opskit.views.stage import Stage

FORMS: Final[Mapping[str, tuple[str, Callable[[Results, Path], object]]]] = {
    "HTML": ("html", Results.report),
    "Excel": ("xlsx", Results.to_excel),
    "Markdown": ("md", Results.to_markdown),
    "Parquet": ("parquet", Results.to_parquet),
}
"""What each form's files end in, and how they are written."""


class Export:
    """The button, and the choice behind it.

    Args:
        results: The rows as of now.
        transaction: What the files are named after.
        stage: Where it speaks.

    Attributes:
        button: It opens and closes the choice.
        choice: A button for each form.
    """

    def __init__(self, results: Callable[[], Results], transaction: str, stage: Stage) -> None:
        self._results = results
        self._transaction = transaction
        self._stage = stage
        self.button = stage.button("Export", "Write the rows to a file: HTML, Excel, Markdown or Parquet", self._press)
        self.choice = HBox([self._form(form) for form in FORMS])
        self.choice.add_class("opskit-buttons")
        self._is_open = True
        self._press()

    def _press(self) -> None:
        self._is_open = not self._is_open
        for form in self.choice.children:
            self._stage.offer(form, is_possible=self._is_open)

    def _form(self, form: str) -> Any:
        ending = FORMS[form][0]

        def press() -> None:
            self._press()
            self._stage.work(lambda: self._write(form))

        return self._stage.button(form, f"Write a .{ending} file", press)

    def _write(self, form: str) -> None:
        ending, write = FORMS[form]
        path = reserved(f"opskit-{self._transaction}", ending)
        try:
            write(self._results(), path)
        except BaseException:
            path.unlink()
            raise
        self._stage.say(f"Written: {path.name}, in {path.parent}")


def reserved(stem: str, ending: str) -> Path:
    """An empty file in the working folder, its owner's alone: `stem.ending`, or `stem-2.ending` and so on.

    Raises:
        OpskitError: None can be made there.
    """
    folder = "the working folder"
    try:
        folder = str(Path.cwd())
        path = Path(folder, f"{stem}.{ending}")
        for number in count(2):
            with suppress(FileExistsError):
                path.touch(0o600, exist_ok=False)
                break
            path = path.with_name(f"{stem}-{number}.{ending}")
    except OSError as error:
        raise OpskitError(
            f"nothing can be written in {folder}: {error.strerror}; os.chdir(...) in a cell to a folder of your own, "
            "then export again"
        ) from error
    return path
