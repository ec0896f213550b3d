"""One agent at a time: who changes the system holds the lock beside the state file."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ucvm_agent.errors import StoreBusy, StoreError

FILE_NAME = "lock"


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Hold the lock of the state in `folder` (made 0700); it ends with the process, however that ends.

    Raises:
        StoreBusy: another agent holds it; StoreError: it cannot be made.
    """
    path = folder / FILE_NAME
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"cannot be made: {error.strerror}", where=str(path), hint="run as root") from error
    try:
        _lock(descriptor, folder)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise StoreBusy(
            "another ucvm-agent is at work here",
            where=str(folder),
            hint="see `ucvm-agent status`; SIGHUP makes the daemon contextualize again",
        ) from error


def held(folder: Path) -> bool:
    """Return whether some agent holds the lock now."""
    try:
        descriptor = os.open(folder / FILE_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
