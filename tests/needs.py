"""What a test needs of the machine: under CI its absence is a failure, elsewhere the test is skipped and says why."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path
from typing import NoReturn

import pytest


def need_program(name: str, package: str) -> str:
    """Return the path of a program, or say which Debian package has it."""
    # Debian's /usr/sbin, where sshd is, stands in the path of root alone.
    search = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"])
    return shutil.which(name, path=search) or missing(f"{name} is not installed: apt-get install {package}")


def need_module(name: str) -> None:
    """Make sure that a module of the dev dependencies can be imported."""
    if importlib.util.find_spec(name) is None:
        missing(f"{name} is not installed: pip install --group dev")


def need_postgres() -> Path:
    """Return the folder of PostgreSQL's programs, or say which Debian package has them."""
    # Debian keeps those of each version in a folder of their own, out of the path.
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else Path(need_program("pg_ctl", "postgresql")).parent


def need_ipykernel6() -> Path:
    """Return the folder where ipykernel 6 stands beside the environment's packages, or say how it gets there."""
    folder = Path(sys.prefix) / "ipykernel-6"
    return folder if (folder / "ipykernel").is_dir() else missing("ipykernel 6 is missing: make .venv/ipykernel-6")


def missing(message: str) -> NoReturn:
    """Fail the test under CI, else skip it."""
    if os.environ.get("CI"):
        pytest.fail(message, pytrace=False)
    pytest.skip(message)
