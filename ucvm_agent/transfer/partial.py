"""The file that a transfer writes, until it is whole: beside its target, under a name that a later try finds again.

Two files: the content, and a note that says how much of it is known to be on the disk, and which version of the
remote file it is. The note follows the content, so what a power cut leaves is at worst fetched once more.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import IO

from ucvm_agent.errors import TransferDelayed, TransferRefused
from ucvm_agent.files import whole_file
from ucvm_agent.files.private_file import MODE

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Errors of a disk that has no room."""

KEEP_EVERY = 8 * 2**20
"""Bytes after which what has come is made safe: so much is fetched twice at most after a crash."""

_NOTE_LIMIT = 4096


class DiskFull(TransferDelayed):
    """The disk of this machine has no place: what has come is given up, so that others can go on."""


class Partial:
    """What has come of a file so far.

    It blocks: call it in threads. It may be closed while another thread still uses it, which then fails.

    Arguments:
        target: where the whole file will be; its folder exists.
        url: what is fetched there.
        limit: most bytes.
    """

    def __init__(self, target: Path, url: str, limit: int) -> None:
        name = sha256(f"{target.name}\0{url}".encode()).hexdigest()[:32]
        self.target = target
        self.limit = limit
        self.size = 0
        """Bytes so far; the next one is written there."""
        self.version = ""
        """Names the version of the remote file; empty = it has no name, and cannot be gone on with."""
        self._path = target.with_name(f".{name}.part")
        self._note = target.with_name(f".{name}.note")
        self._kept = 0
        self._lock = threading.RLock()
        self._file: IO[bytes] | None = None
        self._closed = False

    def open(self) -> None:
        """Open what an earlier try has left, or nothing; `close` is called in any case.

        Raises:
            TransferDelayed: another transfer of this file is under way, or the disk is full.
            TransferRefused: nothing can be written there.
        """
        with self._lock, disk(self.target):
            if not self._closed:
                self._file = _open(self._path)
                self._resume()

    def close(self) -> None:
        """Keep for the next try what has come, if it can be gone on with."""
        with self._lock, suppress(OSError):
            self._closed = True
            if self._file is None:
                return
            try:
                if self.version and self.size:
                    self._keep()
                elif os.path.samestat(os.fstat(self._file.fileno()), self._path.lstat()):
                    self._path.unlink()
            finally:
                self._file.close()
                self._file = None

    @property
    def file(self) -> IO[bytes]:
        """The content, for what writes by itself; `limit` is then its business, and `written` is called afterwards."""
        if self._file is None:
            raise TransferDelayed("the transfer was stopped", where=str(self.target))
        return self._file

    def expect(self, size: int) -> None:
        """Check that a file of so many bytes in all may and can be had.

        Raises:
            TransferRefused: it is too large.
            TransferDelayed: the disk has no place for it.
        """
        if size > self.limit:
            raise TransferRefused(
                f"the file has {size} bytes, more than the {self.limit} that are allowed",
                hint="transfer.max_bytes in the settings",
            )
        with disk(self.target):
            if size - self.size > shutil.disk_usage(self.target.parent).free:
                raise DiskFull("the disk is too full for it", where=str(self.target), hint="make space")

    def restart(self, version: str = "") -> None:
        """Begin anew, with a version of the remote file that this name stands for."""
        with self._lock, disk(self.target):
            self._forget()
            self.file.seek(0)
            self.file.truncate()
            self.size, self._kept, self.version = 0, 0, version

    def write(self, data: bytes) -> None:
        """Append.

        Raises:
            TransferRefused: the file gets larger than it may.
            TransferDelayed: the disk is full, or the transfer was stopped.
        """
        with self._lock, disk(self.target):
            self._check(self.size + len(data))
            rest = memoryview(data)
            while rest:
                rest = rest[self.file.write(rest) :]
            self.size += len(data)
            if self.size - self._kept >= KEEP_EVERY:
                self._keep()

    def written(self) -> None:
        """Take note of what something else has written into `file`.

        Raises:
            TransferRefused: it is more than it may.
        """
        with self._lock, disk(self.target):
            self.size = self.file.seek(0, os.SEEK_END)
            self._check(self.size)

    def discard(self) -> None:
        """Remove what has come."""
        with self._lock, suppress(TransferRefused, TransferDelayed):
            self.restart()

    def publish(self) -> None:
        """Make it the target: whole, and safe from a power cut.

        Raises:
            TransferDelayed: the disk is full.
            TransferRefused: nothing can be written there.
        """
        with self._lock, disk(self.target):
            whole_file.publish(self.file, self._path, self.target)
            self.version = ""
            self._forget()

    def _check(self, size: int) -> None:
        if size > self.limit:
            raise TransferRefused(
                f"the file has more than the {self.limit} bytes that are allowed",
                hint="transfer.max_bytes in the settings",
            )

    def _resume(self) -> None:
        try:
            with self._note.open("rb") as file:
                note = json.loads(file.read(_NOTE_LIMIT))
            size, version = int(note["size"]), str(note["version"])
        except (OSError, ValueError, TypeError, KeyError):
            size, version = 0, ""
        there = os.fstat(self.file.fileno()).st_size
        if not version or not 0 < size <= there:
            size, version = 0, ""
        self.file.truncate(size)
        self.file.seek(size)
        self.size, self._kept, self.version = size, size, version

    def _forget(self) -> None:
        for path in (self._note, whole_file.beside(self._note)):
            path.unlink(missing_ok=True)

    def _keep(self) -> None:
        if not self.version:
            return
        os.fsync(self.file.fileno())
        whole_file.write(self._note, json.dumps({"size": self.size, "version": self.version}).encode())
        self._kept = self.size


@contextmanager
def disk(where: Path) -> Iterator[None]:
    """Tell errors of this machine's disk as errors of a transfer.

    Raises:
        DiskFull: so it is.
        TransferRefused: any other error of the file system.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        if error.errno in FULL:
            raise DiskFull(f"the disk is full: {reason}", where=str(where), hint="make space") from None
        raise TransferRefused(f"the file of this machine cannot be used: {reason}", where=str(where)) from None


def _open(path: Path) -> IO[bytes]:
    """Open a file that only this transfer writes; what somebody else has put there is removed, not followed."""
    with suppress(FileNotFoundError):
        if not _is_ours(path.lstat()):
            path.unlink()
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    file = os.fdopen(os.open(path, flags, MODE), "r+b", buffering=0)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_ours(os.fstat(file.fileno())):
            return file
    except BlockingIOError:
        pass
    file.close()
    raise TransferDelayed("it is being fetched already", where=str(path))


def _is_ours(found: os.stat_result) -> bool:
    return stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and found.st_nlink == 1
