"""Files of ours that nobody else may read: they can hold what user-data and controllers say."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

MODE = 0o600


def tighten(file: Path | int) -> None:
    """Take a file away from group and others, however it came to be open to them; devices and pipes stay as they are.

    Arguments:
        file: its path, or a descriptor of it.

    Raises:
        OSError: it is not there.
    """
    mode = os.stat(file).st_mode  # noqa: PTH116 - takes descriptors, too
    if stat.S_ISREG(mode) and mode & 0o077:
        with suppress(PermissionError):  # somebody else's: an unprivileged agent is not at fault
            os.chmod(file, MODE)  # noqa: PTH101 - as above


def make(path: Path, content: bytes) -> None:
    """Make a file that only we may read, and its folder; a file that is there stays as it is.

    Of two processes that make it at the same time, the first one's stays, whole.

    Raises:
        OSError: it cannot be made.
    """
    import tempfile  # here: few need it, and a dry run has to start fast

    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):  # a link, unlike a rename, replaces nothing of somebody who was faster
            os.link(temporary, path)
    finally:
        os.unlink(temporary)  # noqa: PTH108 - a name from mkstemp
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Return when the names in a folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
