"""A medium, read within bounds, whatever the structures on it claim."""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ucvm_agent.errors import SourceAbsent, SourceError, SourceRefused, SourceUnavailable

MAX_READ = 64 * 1024 * 1024
"""Most bytes that are read of one volume, its folders and tables included."""

SECONDS = 10.0
"""Longest that reading one volume takes."""

_CDROM_DRIVE_STATUS = 0x5326
_NO_MEDIUM = {1, 2, 3}
"""No disc, tray open, drive not ready (linux/cdrom.h)."""


class Medium(io.RawIOBase):
    """A seekable binary file that ends reading, with an error of ours, when a bound is reached or it is stopped.

    A medium with a circle in its structures ends by this, too, whoever follows them.

    Arguments:
        descriptor: of the image or device; whoever opened it closes it.
        where: its path, for people.
        stop: set by whoever does not want the answer any more.
    """

    def __init__(self, descriptor: int, where: str, stop: threading.Event) -> None:
        self.size = os.lseek(descriptor, 0, os.SEEK_END)
        self.where = where
        self._descriptor = descriptor
        self._stop = stop
        self._position = 0
        self._left = MAX_READ
        self._deadline = time.monotonic() + SECONDS

    def readable(self) -> bool:
        """Say that this is a file to read."""
        return True

    def seekable(self) -> bool:
        """Say that every byte can be reached."""
        return True

    def tell(self) -> int:
        """Return the position of the next byte that is read."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to another position; one that cannot be is an error of the medium's structures."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        if start + offset < 0:
            raise self.broken("a structure lies before the beginning")
        self._position = start + offset
        return self._position

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next bytes; fewer at the end of the medium only."""
        there = max(0, self.size - self._position)
        wanted = there if size is None or size < 0 else min(size, there)
        data = self._read_at(self._position, wanted)
        self._position += len(data)
        return data

    def read_at(self, offset: int, size: int) -> bytes:
        """Return exactly `size` bytes from an offset.

        Raises:
            SourceRefused: the medium ends before.
        """
        self.seek(offset)
        data = self.read(size)
        if len(data) < size:
            raise self.broken("it ends in the middle of a structure")
        return data

    def broken(self, what: str) -> SourceRefused:
        """Return the error for a medium that does not keep to its format."""
        return SourceRefused(f"the volume is damaged: {what}", where=self.where)

    def _read_at(self, offset: int, size: int) -> bytes:
        if self._stop.is_set() or time.monotonic() > self._deadline:
            raise SourceUnavailable(f"reading it takes longer than {SECONDS:g} s", where=self.where)
        self._left -= max(size, 1)
        if self._left < 0:
            raise SourceRefused(f"reading it takes more than {MAX_READ} bytes", where=self.where)
        pieces = []
        while size > 0 and (piece := os.pread(self._descriptor, size, offset)):
            pieces.append(piece)
            offset, size = offset + len(piece), size - len(piece)
        return b"".join(pieces)


@contextmanager
def open_medium(path: str, stop: threading.Event) -> Iterator[Medium]:
    """Open an image or a device for reading; a drive without a medium answers at once.

    Raises:
        SourceAbsent: there is none. SourceRefused: this user may not read it. SourceUnavailable: it has a fault.
    """
    if "\0" in path:
        raise SourceRefused("a path cannot hold a NUL", where=repr(path))
    try:
        # O_NONBLOCK: a drive opens without a medium, and does not draw in its tray.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if _is_empty_drive(descriptor):
                raise SourceAbsent("there is no medium in the drive", where=path)
            yield Medium(descriptor, path, stop)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _translated(error, path) from None


def _is_empty_drive(descriptor: int) -> bool:
    import fcntl

    try:
        return fcntl.ioctl(descriptor, _CDROM_DRIVE_STATUS, 0) in _NO_MEDIUM
    except OSError:
        return False  # this is no drive


def _translated(error: OSError, where: str) -> SourceError:
    match error:
        case FileNotFoundError() | NotADirectoryError():
            return SourceAbsent("there is no such image or device", where=where)
        case PermissionError():
            hint = "run this as root, or as a member of the group that may read it"
            return SourceRefused("this user may not read it", where=where, hint=hint)
        case IsADirectoryError():
            return SourceRefused("this is a folder and no image", where=where)
        case _:
            return SourceUnavailable(f"it cannot be read: {error.strerror}", where=where)
