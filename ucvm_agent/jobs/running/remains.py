"""Making room: removing what a job has left that is no part of its output, or that can be done without.

By rm(1) and du(1), since a job can make trees that are deeper than any recursion.
"""

from __future__ import annotations

import asyncio
import stat
from contextlib import suppress
from pathlib import Path

from ucvm_agent.errors import JobError
from ucvm_agent.jobs.running.job import RESERVED
from ucvm_agent.jobs.running.privacy import FOLDER
from ucvm_agent.jobs.running.tool import run_tool
from ucvm_agent.jobs.running.workdir import REMOVE_SECONDS, Folder

_NOTICE = 200
"""Bytes that may be behind the last one that is kept of a stream: how many were left out."""

_BATCH = 500
"""Names that one program is given."""


async def remove_temporary(folder: Folder) -> None:
    """Remove what a job that has ended left in its places for temporary files; what resists goes with its folder."""
    path = folder.control / FOLDER
    with suppress(JobError):
        if await asyncio.to_thread(path.exists):
            await run_tool("rm", "-rf", "--", str(path), seconds=REMOVE_SECONDS)


async def size_of_files(folder: Folder, limit: int) -> int:
    """Return about how many bytes of the disk `remove_files` would free; 0 if nobody can tell."""
    command = ("du", "-s", "-x", "--block-size=1", "--", str(folder.path))
    with suppress(JobError, OSError, ValueError):
        _, text, _ = await run_tool(*command, seconds=REMOVE_SECONDS, most=4096)
        return max(0, int(text.split(b"\t")[0]) - await asyncio.to_thread(_size_of_ours, folder, limit))
    return 0


async def remove_files(folder: Folder, limit: int) -> None:
    """Remove the files of a job that has ended, but for those that are ours; what the job has put in their place goes.

    Arguments:
        limit: bytes that were kept of each of its streams.

    Raises:
        JobError: something could not be removed.
    """
    try:
        paths = await asyncio.to_thread(_others, folder, limit)
    except OSError as error:
        raise JobError(error.strerror or str(error), where=str(folder.path)) from error
    for begin in range(0, len(paths), _BATCH):
        batch = map(str, paths[begin : begin + _BATCH])
        status, _, errors = await run_tool("rm", "-rf", "--", *batch, seconds=REMOVE_SECONDS)
        if status:
            raise JobError(f"the files of the job cannot be removed: {errors[:200]}", where=str(folder.path))


def _others(folder: Folder, limit: int) -> list[Path]:
    return [path for path in folder.path.iterdir() if not _is_ours(path, limit)]


def _size_of_ours(folder: Folder, limit: int) -> int:
    return sum(path.lstat().st_blocks * 512 for path in folder.path.iterdir() if _is_ours(path, limit))


def _is_ours(path: Path, limit: int) -> bool:
    if path.name not in RESERVED:
        return False
    there = path.lstat()
    return stat.S_ISREG(there.st_mode) and there.st_size < limit + _NOTICE
