"""The agent as a machine has it: a fresh virtual environment of the system's Python, without what tests need."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PYTHON = "/usr/bin/python3"
"""The interpreter of Debian's cloud-init too: another build of Python may be a third slower."""


@contextmanager
def installed_agent() -> Iterator[Path]:
    """Install this checkout in a folder of its own, and yield the path of `ucvm-agent`; takes a quarter of a minute."""
    with tempfile.TemporaryDirectory(prefix="ucvm-benchmark.", dir="/var/tmp") as folder:
        environment = without_caches()
        subprocess.run([PYTHON, "-m", "venv", folder], env=environment, check=True)
        pip = [f"{folder}/bin/pip", "install", "--quiet", "--quiet", "--disable-pip-version-check", str(REPOSITORY)]
        subprocess.run(pip, env=environment, check=True)
        yield Path(folder, "bin", "ucvm-agent")


def without_caches() -> dict[str, str]:
    """Return this environment without what would keep Python from using its bytecode."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def cloud_init() -> str:
    """Return the path of Debian's cloud-init, which has to be installed."""
    return shutil.which("cloud-init") or sys.exit("cloud-init is not installed: apt-get install cloud-init")
