"""Open JupyterLab on a folder of notebooks, with an embedded fleet up as long: `lab.py FOLDER`."""
# ruff: noqa: INP001, T201 - a script, which prints

from __future__ import annotations

import os
import signal
import subprocess
import sys

from opskit.fleetlab import Fleet


def main(folder: str) -> int:
    """Run JupyterLab on the folder until it ends, and return its exit code."""
    with Fleet() as fleet:
        print(f"The embedded fleet is up; the notebooks' inventory is {fleet.path}", flush=True)
        # Ctrl-C is for JupyterLab, which asks first; the fleet stays until it has ended.
        signal.signal(signal.SIGINT, lambda *_: None)
        lab = subprocess.run(  # noqa: S603 - this environment's own Python
            [sys.executable, "-m", "jupyterlab", "--allow-root", f"--ServerApp.root_dir={folder}"],
            env=os.environ | {"OPSKIT_INVENTORY": str(fleet.path)},
            check=False,
        )
        return lab.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
