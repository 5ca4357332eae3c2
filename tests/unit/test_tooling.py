"""The two commands of the README: what they install, and what they say where something is missing."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]


def pins() -> dict[str, Requirement]:
    """Read constraints.txt: each package's pin by its name."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    requirements = [Requirement(line) for line in lines if not line.startswith("#")]
    return {canonicalize_name(requirement.name): requirement for requirement in requirements}


def test_every_pin_is_one_version_and_no_address() -> None:
    """Constraints name versions alone, so that each user's own package index is asked."""
    assert all(re.fullmatch(r"==[\w.]+", str(pin.specifier)) and pin.url is None for pin in pins().values())


def test_everything_that_pyproject_asks_for_is_pinned_to_a_version_that_it_allows() -> None:
    """No direct dependency, of the package, its extras, its tools or its build, floats."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = pyproject["project"]
    asked = [
        *pyproject["build-system"]["requires"],
        *project["dependencies"],
        *(text for extra in project["optional-dependencies"].values() for text in extra),
        *pyproject["dependency-groups"]["dev"],
    ]
    requirements = [requirement for requirement in map(Requirement, asked) if requirement.name != "opskit"]
    pinned = pins()

    unmet = [
        str(requirement)
        for requirement in requirements
        if (pin := pinned.get(canonicalize_name(requirement.name))) is None
        or not requirement.specifier.contains(str(pin.specifier).removeprefix("=="))
    ]

    assert requirements
    assert unmet == []


@pytest.mark.parametrize(
    ("python", "says"),
    [
        (None, "opskit needs Python 3.11 or newer, and there is no"),
        ("case $1 in --version) echo Python 3.9.2;; *) exit 1;; esac", "is Python 3.9.2: name another"),
        ("case $2 in *ensurepip*) exit 1;; esac", "apt-get install python3-venv"),
    ],
    ids=["no python", "too old", "no venv module"],
)
def test_make_says_which_part_of_python_is_missing(tmp_path: Path, python: str | None, says: str) -> None:
    """Without a fit Python, make ends with what is missing and what to do, and installs nothing."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    program = tmp_path / "python3"
    if python is not None:
        program.write_text(f"#!/bin/sh\n{python}\n")
        program.chmod(0o755)

    done = subprocess.run(
        ["make", "demo", f"PYTHON={program}"], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert done.returncode != 0
    assert says in done.stderr
    assert not (tmp_path / ".venv").exists()
