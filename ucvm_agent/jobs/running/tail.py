"""What a job has printed so far, for somebody who looks on."""

from __future__ import annotations

import asyncio
import os
import stat
from dataclasses import dataclass
from enum import StrEnum

from ucvm_agent.errors import JobError
from ucvm_agent.jobs.running.account import Account
from ucvm_agent.jobs.running.workdir import Folder

MAX_CHUNK = 1024**2
"""Bytes that are given at once."""


class Stream(StrEnum):
    """The files in a job's folder that can be looked at."""

    STDOUT = "stdout"
    STDERR = "stderr"
    RESOURCES = "resources"
    VALIDATE_STDOUT = "validate_stdout"
    VALIDATE_STDERR = "validate_stderr"


@dataclass(frozen=True)
class Chunk:
    """A part of a stream.

    Arguments:
        offset: of its first byte.
        data: as the job wrote it: text in no particular encoding, with any control characters.
        size: of the stream now; there is more as long as `end` is less.
    """

    offset: int
    data: bytes
    size: int

    @property
    def end(self) -> int:
        """The offset to go on at."""
        return self.offset + len(self.data)


async def tail(folder: Folder, account: Account, stream: Stream, offset: int = -4096, size: int = 65536) -> Chunk:
    """Return a part of what a job, running or not, has printed; nothing if there is no such file yet.

    Arguments:
        offset: where to begin; less than 0 counts from the end.
        size: most bytes, up to `MAX_CHUNK`.

    Raises:
        JobError: the job has put something else in the place of the file.
    """
    return await asyncio.to_thread(_tail, folder, account, stream, offset, min(size, MAX_CHUNK))


def _tail(folder: Folder, account: Account, stream: Stream, offset: int, size: int) -> Chunk:
    try:
        descriptor = os.open(folder.path / stream, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return Chunk(0, b"", 0)
    except OSError as error:  # a link, or a socket
        raise JobError(error.strerror or str(error), where=str(folder.path / stream)) from error
    try:
        there = os.fstat(descriptor)
        if not stat.S_ISREG(there.st_mode) or there.st_uid != account.uid:  # a pipe, or a hard link to what is not its
            raise JobError("is not what the agent made", where=str(folder.path / stream))
        begin = min(offset if offset >= 0 else max(0, there.st_size + offset), there.st_size)
        return Chunk(begin, os.pread(descriptor, max(0, size), begin), there.st_size)
    finally:
        os.close(descriptor)
