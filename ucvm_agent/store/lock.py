"""One agent at a time: who changes the system holds the lock beside the state file."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ucvm_agent.errors import StoreBusy, StoreError

FILE_NAME = "lock"

HINT = "see `ucvm-agent status`; SIGHUP makes the daemon contextualize again"
"""For who finds an agent at work."""

WHOLE_FILE = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
"""The `struct flock` of fcntl(2) that stands for a write lock on all of a file."""


@contextmanager
def hold(folder: Path, program: str = "ucvm-agent", hint: str = HINT) -> Iterator[None]:
    """Hold the lock of the state in `folder` (made 0700); it ends with the process, however that ends.

    Arguments:
        program: who works here.
        hint: what to do if another one does already.

    Raises:
        StoreBusy: another agent holds it; StoreError: it cannot be made.
    """
    path = folder / FILE_NAME
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        hint = "run as root" if os.geteuid() != 0 else "state_dir in the settings says where it is"
        raise StoreError(f"cannot be made: {error.strerror}", where=str(path), hint=hint) from error
    try:
        _lock(descriptor, folder, StoreBusy(f"another {program} is at work here", where=str(folder), hint=hint))
        os.ftruncate(descriptor, 0)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path, busy: StoreBusy) -> None:
    try:
        # One of the open file, not of the process: nothing else that closes the file in this process ends it.
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, WHOLE_FILE)
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise StoreError(f"cannot be locked: {error.strerror}", where=str(folder)) from error
        raise busy from error


def listen(folder: Path) -> None:
    """Let others know that this process, which holds the lock, contextualizes again at SIGHUP."""
    (folder / FILE_NAME).write_text(f"{os.getpid()}\n")


def hang_up(folder: Path) -> bool:
    """Make the daemon that holds the lock contextualize again; False if none does, or it does not listen yet."""
    try:
        number = int((folder / FILE_NAME).read_text())
        # The descriptor stays with the process, whoever may get its number after it.
        process = os.pidfd_open(number)
    except (OSError, ValueError, OverflowError):
        return False
    try:
        if not held(folder) or (folder / FILE_NAME).read_text() != f"{number}\n":
            return False
        signal.pidfd_send_signal(process, signal.SIGHUP)
    except OSError:
        return False
    finally:
        os.close(process)
    return True


def held(folder: Path) -> bool:
    """Return whether some agent holds the lock now, without taking it even for a moment."""
    try:
        descriptor = os.open(folder / FILE_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        answer = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, WHOLE_FILE)
    finally:
        os.close(descriptor)
    kind: int = struct.unpack_from("h", answer)[0]
    return kind != fcntl.F_UNLCK
