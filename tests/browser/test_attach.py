"""A run of another process in JupyterLab, as a person meets it: watched live, and undone."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import pytest

from opskit import journal
from tests.browser.test_run_view import button, said
from tests.system.ground import python, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.browser.lab import Lab

pytestmark = pytest.mark.browser

OWNER: Final = """
    journal, folder = sys.argv[1:]
    opskit.configure(journal=journal)
    opskit.use(opskit.Inventory([opskit.Host(f"web{number}", address="local") for number in (1, 2, 3)]))
    try:
        opskit.run(
            "touch {{ folder }}/{{ server.name }}; echo begun; [ {{ server.name }} = web1 ] || exec sleep 300",
            undo="rm {{ folder }}/{{ server.name }}", name="deploy v42",
        )
    except opskit.Cancelled as error:
        print(*error.__notes__)
"""


def test_another_processes_run_is_watched_and_undone(lab: Lab, tmp_path: Path) -> None:
    """Its view is live though the cell has ended, without Cancel; Rollback has its process undo it."""
    place = os.environ["OPSKIT_JOURNAL"]
    with python(OWNER, place, tmp_path) as owner:
        try:
            wait_until(lambda: len(list(tmp_path.iterdir())) == 3, 20)
            transaction = str(journal.df["transaction"].iloc[0])
            begin = f"%load_ext opskit\nimport opskit\nopskit.configure(journal={place!r});"
            notebook = lab.open(lab.write("attached", [begin, f"%opskit attach {transaction}"]))
            notebook.run_all()
            said(notebook, 1, "2 running")
            notebook.wait_idle()
            said(notebook, 1, "deploy v42")
            assert f"attached to {transaction}" in notebook.output(1)
            assert notebook.cell(1).locator(".opskit-grid button").all_inner_texts() == ["web1", "web2", "web3"]
            said(notebook, 1, "begun")
            assert not button(notebook, 1, "Cancel").is_visible()
            notebook.screenshot("attached")
            button(notebook, 1, "Rollback").click()
            said(notebook, 1, "It still runs, and is cancelled first")
            button(notebook, 1, "Yes, roll back").click()
            said(notebook, 1, "3 of 3 undone", 20)
            notebook.screenshot("attached-undone")
            out, _ = owner.communicate(timeout=20)
        finally:
            owner.kill()
    assert "the Rollback button" in out
    assert not list(tmp_path.iterdir())
    button(notebook, 1, "Rollback").wait_for(state="hidden")
