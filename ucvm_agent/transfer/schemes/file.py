"""`file:///PATH`: files of this machine, only in the folders that `transfer.file_roots` names.

Where a path leads is asked of the kernel after it has been opened, so that no link, and no change of one in between,
leads outside.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from threading import Event, Lock
from typing import IO

from ucvm_agent.errors import TransferDelayed, TransferRefused
from ucvm_agent.files.private_file import MODE
from ucvm_agent.transfer import base
from ucvm_agent.transfer.location import Location
from ucvm_agent.transfer.partial import Partial, disk

_CHUNK = 2**20

_guard = Lock()
_under_way: set[str] = set()
"""Where files are put just now. A copy that was given up ends late if a disk hangs: not in the file of the next one."""


class Transfer(base.Transfer):
    """Copies files."""

    async def fetch(self, source: Location, partial: Partial) -> None:
        """See `Transfer.fetch`; it always begins anew."""
        with _stopping() as stopped:
            await asyncio.to_thread(self._fetch, source, partial, stopped)

    async def send(self, source: Path, target: Location) -> None:
        """See `Transfer.send`."""
        with _stopping() as stopped:
            await asyncio.to_thread(self._send, source, target, stopped)

    def _fetch(self, source: Location, partial: Partial, stopped: Event) -> None:
        with disk(Path(source.path)), self._opened(source.path, os.O_NONBLOCK) as descriptor:
            partial.restart()
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise TransferRefused("this is not a file, but a folder, a device or a pipe", where=source.path)
            partial.expect(found.st_size)
            for data in _chunks(os.fdopen(descriptor, "rb", buffering=0, closefd=False), stopped):
                partial.write(data)

    def _send(self, source: Path, target: Location, stopped: Event) -> None:
        path = Path(target.path)
        temporary = f".{sha256(target.path.encode()).hexdigest()[:32]}.part"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with (
            disk(path),
            _alone(target.path),
            source.open("rb") as content,
            self._opened(str(path.parent), os.O_DIRECTORY) as folder,
        ):
            with suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=folder)  # left over from a power cut
            try:
                with os.fdopen(os.open(temporary, flags, MODE, dir_fd=folder), "wb") as file:
                    for data in _chunks(content, stopped):
                        file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                os.rename(temporary, path.name, src_dir_fd=folder, dst_dir_fd=folder)
                os.fsync(folder)
            except BaseException:
                with suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=folder)
                raise

    @contextmanager
    def _opened(self, path: str, flags: int) -> Iterator[int]:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)  # which does nothing to a device
        try:
            here = f"/proc/self/fd/{place}"
            found = Path(here).readlink()
            if not any(found.is_relative_to(Path(root).resolve()) for root in self.settings.file_roots):
                raise TransferRefused(
                    "the file is in none of the folders that are allowed", hint="transfer.file_roots in the settings"
                )
            descriptor = os.open(here, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | flags)
        finally:
            os.close(place)
        try:
            yield descriptor
        finally:
            os.close(descriptor)


@contextmanager
def _stopping() -> Iterator[Event]:
    """Stop the thread of a copy that is cancelled."""
    stopped = Event()
    try:
        yield stopped
    finally:
        stopped.set()


@contextmanager
def _alone(path: str) -> Iterator[None]:
    with _guard:
        if path in _under_way:
            raise TransferDelayed("an earlier copy has not come to its end yet", hint="does the disk answer?")
        _under_way.add(path)
    try:
        yield
    finally:
        _under_way.discard(path)


def _chunks(file: IO[bytes], stopped: Event) -> Iterator[bytes]:
    while data := file.read(_CHUNK):
        if stopped.is_set():
            raise TransferDelayed("the copy was stopped")
        yield data
