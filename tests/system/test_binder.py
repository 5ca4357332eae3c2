"""What Binder does with this repository, in an empty environment: the steps of binder/, then the first notebook."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]
SENT = ("binder", "notebooks", "opskit", "tools", "LICENSE", "README.md", "constraints.txt", "pyproject.toml")
LEFT_OUT = ("IPYTHON", "JUPYTER", "OPSKIT", "PYTHON", "XDG")


def test_binder_opens_the_first_notebook(tmp_path: Path) -> None:
    """In an environment made by binder/'s own steps alone the first notebook runs, fleet and all."""
    # Another file would be a step that is not followed here.
    assert {file.name for file in (ROOT / "binder").iterdir()} == {"requirements.txt", "runtime.txt"}
    repository = tmp_path / "repository"
    for name in SENT:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, repository / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, repository / name)
    venv.create(tmp_path / "environment")
    home = tmp_path / "home"
    home.mkdir()
    programs = tmp_path / "environment" / "bin"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(LEFT_OUT)}
    environment["PATH"] = f"{programs}{os.pathsep}{os.environ['PATH']}"

    # This environment's pip, and no bytecode of what is never imported: both take a while, and show nothing.
    pip = [sys.executable, "-m", "pip", "--python", str(tmp_path / "environment")]
    install = ["install", "-qq", "--no-compile", "--requirement", "binder/requirements.txt"]
    run([*pip, *install], repository, environment)
    # Only now: pip's own configuration and cache are the user's.
    first_steps = ["python", "tools/demo.py", "notebooks/01-first-steps.ipynb", "build"]
    run(first_steps, repository, environment | {"HOME": str(home)})


def run(command: list[str], folder: Path, environment: dict[str, str]) -> None:
    """Run a command that must succeed; if it does not, show what it said."""
    done = subprocess.run(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
