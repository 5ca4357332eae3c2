"""A kernel of an older ipykernel on this environment's packages; a file gets it by `kernel6 = kernels.kernel6`."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# ipykernel 7 needs no nest_asyncio, so the environment has none.
IPYKERNEL6 = ("ipykernel==6.31.0", "nest-asyncio==1.6.0")


def install_kernel6(jupyter_path: Path) -> str:
    """Install a kernel of ipykernel 6 below a folder of JUPYTER_PATH, and return its name."""
    kernel = jupyter_path / "kernels" / "ipykernel6"
    packages = kernel / "packages"
    pip = [sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, "--target", packages, *IPYKERNEL6], check=True)
    specification = {
        "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": "ipykernel 6",
        "language": "python",
        # Before the environment's own packages, so that its ipykernel 7 is not seen.
        "env": {"PYTHONPATH": str(packages)},
    }
    (kernel / "kernel.json").write_text(json.dumps(specification))
    return kernel.name


@pytest.fixture(scope="session")
def kernel6(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Name a kernel of ipykernel 6 that this process and its children find."""
    jupyter_path = tmp_path_factory.mktemp("jupyter_path")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(jupyter_path))
        yield install_kernel6(jupyter_path)
