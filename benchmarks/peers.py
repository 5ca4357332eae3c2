"""The environment of the peers: made once, and anew when `peers.txt` says something else."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

PINS: Final = Path(__file__).with_name("peers.txt")


def python(folder: Path) -> str:
    """Give the interpreter of the environment in this folder, which is made if it is not there.

    Raises:
        subprocess.CalledProcessError: venv or pip failed, and has said why.
    """
    interpreter = folder / "bin" / "python"
    installed = folder / "installed.txt"
    # The interpreter is asked for, since one that was removed leaves a dead link behind.
    if not interpreter.exists() or not installed.exists() or installed.read_text() != _asked():
        sys.stderr.write("Installing the peers; this happens once ...\n")
        shutil.rmtree(folder, ignore_errors=True)
        _run(sys.executable, "-m", "venv", str(folder))
        _run(str(interpreter), "-m", "pip", "install", "--quiet", "--requirement", str(PINS))
        installed.write_text(_asked())
    return str(interpreter)


def _asked() -> str:
    """What the environment is made of: the pins, and the Python that it belongs to."""
    return f"{sys.version}\n{PINS.read_text()}"


def _run(*command: str) -> None:
    subprocess.run(command, check=True)  # noqa: S603 - venv and pip
