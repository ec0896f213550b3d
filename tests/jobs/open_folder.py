"""Folders that every account may pass through: pytest's own are closed to other users."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

ABOVE = Path("/srv") if os.geteuid() == 0 else Path(tempfile.gettempdir())
"""Not /tmp if the tests are root, since each job has its own of that then."""


def make_open_folder(name: str) -> Path:
    """Make a folder that is nobody else's; `remove_open_folder` removes it."""
    folder = Path(tempfile.mkdtemp(prefix=f"ucvm-{name}-", dir=ABOVE))
    folder.chmod(0o711)
    return folder


def remove_open_folder(folder: Path) -> None:
    """Remove it by rm(1), which does not mind that what a killed agent has left is removing its part of it as well."""
    subprocess.run(["rm", "-rf", "--", folder], check=True)
