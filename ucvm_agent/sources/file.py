"""User-data from a local file or standard input.

The dry run passes through here, so nothing heavy is imported.
"""

from __future__ import annotations

import asyncio
import errno
import os
import select
import stat
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import structlog

from ucvm_agent.errors import SourceAbsent, SourceError, SourceRefused, SourceUnavailable
from ucvm_agent.sources import base
from ucvm_agent.sources.base import MAX_BODY, Candidate, Found, Metadata
from ucvm_agent.sources.identity import derive_instance_id, read_machine_id

if TYPE_CHECKING:
    from ucvm_agent.settings import File
    from ucvm_agent.sources.machine import Machine

log = structlog.get_logger()

STANDARD_INPUT = "-"
_CHUNK = 64 * 1024

Look: TypeAlias = tuple[int, int, int]

LOOK_SECONDS = 5.0
"""Between two looks at a file that is followed (references/clouds.md, section 2.9), …"""
SETTLE_SECONDS = 1.0
"""… and that a changed one has to stay as it is before it is read: its writer may not be through."""


class Source(base.Source):
    """User-data from the file of the settings: a path, a FIFO, `/dev/fd/63`, or `-` for standard input."""

    name = "file"
    rank = 10
    local = True

    def __init__(self, settings: File) -> None:
        self._path = settings.path
        self._from_standard_input: bytes | None = None

    def candidate(self, machine: Machine) -> Candidate:
        """Say whether the file is there."""
        if not self._path:
            return Candidate(False, "no file is named")
        if self._path == STANDARD_INPUT:
            return Candidate(True, "standard input is named")
        there = Path(self._path).exists()
        return Candidate(there, "the file is there" if there else "the file is not there")

    async def fetch(self) -> Found:
        """Read the file as it is now; standard input, which can be read but once, is remembered."""
        if not self._path:
            raise SourceAbsent("no file is named", hint="set sources.file.path, or use --user-data FILE")
        content = await (self._standard_input() if self._path == STANDARD_INPUT else self._file())
        instance_id = derive_instance_id(self.name, content, await asyncio.to_thread(read_machine_id))
        metadata = Metadata(instance_id=instance_id, derived=True)
        return Found(source=self.name, origin=self._path, user_data=content, metadata=metadata)

    async def changes(self, known: Found, pause: float) -> AsyncGenerator[Found, None]:
        """Read the file again whenever it looks changed; a pipe has nothing more to say."""
        seen: Look | None = None
        while pause and self._path != STANDARD_INPUT:
            await asyncio.sleep(LOOK_SECONDS)
            look = await asyncio.to_thread(_look, self._path)
            if look is None or look == seen:
                continue
            await asyncio.sleep(SETTLE_SECONDS)
            if await asyncio.to_thread(_look, self._path) == look:
                seen = look
                yield await self.fetch()

    async def _standard_input(self) -> bytes:
        if self._from_standard_input is None:
            self._from_standard_input = await _read(0, STANDARD_INPUT)
        return self._from_standard_input

    async def _file(self) -> bytes:
        try:
            # O_NONBLOCK: opening a FIFO must not wait for its writer, where nothing could cancel it.
            descriptor = await asyncio.to_thread(os.open, self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise _translated(error, self._path) from None
        except ValueError:
            raise SourceRefused("a path cannot hold a NUL", where=repr(self._path)) from None
        try:
            _warn_if_open_to_others(os.fstat(descriptor), self._path)
            return await _read(descriptor, self._path)
        finally:
            os.close(descriptor)


def _look(path: str) -> Look | None:
    """Return what changes when a regular file does; None if there is none."""
    try:
        status = Path(path).stat()
    except (OSError, ValueError):
        return None
    return (status.st_ino, status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None


async def _read(descriptor: int, where: str) -> bytes:
    """Read to the end in a thread; a byte in a pipe of our own tells the thread that nobody wants it any more."""
    stop, stopper = os.pipe()
    reading = asyncio.ensure_future(asyncio.to_thread(_read_until, descriptor, stop))
    try:
        content = await asyncio.shield(reading)
    except OSError as error:
        raise _translated(error, where) from None
    finally:
        os.write(stopper, b".")
        await asyncio.wait([reading])
        os.close(stop)
        os.close(stopper)
    if len(content) > MAX_BODY:
        raise SourceRefused(f"it has more than the {MAX_BODY} bytes that are read", where=where)
    return content


def _read_until(descriptor: int, stop: int) -> bytes:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    poll.register(stop, select.POLLIN)
    content = bytearray()
    while len(content) <= MAX_BODY:
        if stop in dict(poll.poll()):
            break
        try:
            chunk = os.read(descriptor, _CHUNK)
        except BlockingIOError:
            continue
        if not chunk:
            break
        content += chunk
    return bytes(content)


def _translated(error: OSError, where: str) -> SourceError:
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR:
            return SourceAbsent("there is no such file", where=where, hint="- stands for standard input")
        case errno.EACCES | errno.EPERM:
            return SourceRefused("this user may not read it", where=where)
        case errno.EISDIR | errno.ENXIO:
            return SourceRefused("this is not a file", where=where)
        case _:
            return SourceUnavailable(f"it cannot be read: {error.strerror}", where=where)


def _warn_if_open_to_others(status: os.stat_result, path: str) -> None:
    """Say so if others could make this machine theirs (references/clouds.md, section 2.9)."""
    if os.geteuid() == 0 and stat.S_ISREG(status.st_mode) and status.st_mode & stat.S_IWOTH:
        log.warning("everybody may write the user-data", file=path, hint=f"chmod o-w {path}")
