"""Files that are there whole or, after a power cut, as they were before."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

from ucvm_agent.files.private_file import MODE, sync_folder


def write(path: Path, content: bytes, *, mode: int = MODE) -> None:
    """Write a small file; its folder exists, and only we write in it.

    Arguments:
        mode: less what the umask takes.

    Raises:
        OSError: it cannot be written.
    """
    unfinished = beside(path)
    unfinished.unlink(missing_ok=True)  # left over from a power cut
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
        file.write(content)
        publish(file, unfinished, path)


def beside(path: Path) -> Path:
    """Return where `write` has the file until it is whole."""
    return path.with_name(f"{path.name}.new")


def publish(file: IO[bytes], path: Path, target: Path) -> None:
    """Give an open file its final name in the same folder, once it is on the disk.

    Raises:
        OSError: it cannot be.
    """
    file.flush()
    os.fsync(file.fileno())
    path.rename(target)
    sync_folder(target.parent)
