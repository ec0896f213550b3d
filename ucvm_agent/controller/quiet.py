"""Since when nobody has written to a place: what several controllers share, each may sweep only if it is quiet.

Every function may block.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

QUIET_SECONDS = 600.0
"""After this nobody can be writing any more: who receives a file gives up after a minute without a byte."""


def clock(folder: Path) -> float:
    """Return the time as the file system has it, in seconds since 1970: hosts that share one may have others.

    Raises:
        OSError: it cannot be written to.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        return os.fstat(file.fileno()).st_mtime


def written(path: Path) -> float:
    """Return when a file, or anything right in a folder, was written last; infinite if it is just coming or going."""
    try:
        inside = path.iterdir() if path.is_dir() and not path.is_symlink() else ()
        times: list[float] = [each.lstat().st_mtime for each in (path, *inside)]
        return max(times)
    except OSError:
        return float("inf")
