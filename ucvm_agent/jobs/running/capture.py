"""What a job prints: through a pipe into a file of its folder, up to a bound."""

from __future__ import annotations

import os
from contextlib import suppress

from ucvm_agent.jobs.running.account import Account

_CHUNK = 64 * 1024
_MAX_PIPE = 1024**2
"""Bytes that a pipe of somebody who is not root can hold (/proc/sys/fs/pipe-max-size)."""


class Capture:
    """One stream of a job.

    The file is made anew and stays open, so that nothing that the job does to its name leads what we write elsewhere.

    Arguments:
        folder: the job's folder, open.
        name: of the file.
        limit: bytes that are kept.

    Raises:
        OSError: the file cannot be made.
    """

    def __init__(self, folder: int, name: str, limit: int, account: Account) -> None:
        self._file = make_file(folder, name, account)
        self._room = limit
        self._left_out = 0
        self.size = 0
        self.outlet, self.inlet = os.pipe()
        os.set_blocking(self.outlet, False)

    def take(self) -> bool:
        """Write what is in the pipe and has room; False if nobody holds its other end any more."""
        try:
            data = os.read(self.outlet, _CHUNK)
        except BlockingIOError:
            return True
        self.size += len(data)
        kept = data[: self._room]
        self._room -= len(kept)
        written = self._write(kept)
        self._left_out += len(data) - written
        return bool(data)

    def close(self) -> None:
        """Take the rest that is in the pipe, and say in a last line how much was left out."""
        for _ in range(_MAX_PIPE // _CHUNK):
            before = self.size
            self.take()
            if self.size == before:
                break
        if self._left_out:
            self._write(b"\n[%d bytes were left out here]\n" % self._left_out)
        with suppress(OSError):
            os.fsync(self._file)
        os.close(self._file)
        os.close(self.outlet)

    def _write(self, data: bytes) -> int:
        """Return how much of it could be written: a full disk is no reason to stop the job."""
        written = 0
        with suppress(OSError):
            while written < len(data):
                written += os.write(self._file, data[written:])
        return written


def make_file(folder: int, name: str, account: Account) -> int:
    """Make a file in an open folder in place of what has its name, give it to the account, and return it open.

    Raises:
        OSError: it cannot be made.
    """
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(name, flags, 0o644, dir_fd=folder)
    if account.other:
        os.fchown(descriptor, account.uid, account.gid)
    return descriptor
