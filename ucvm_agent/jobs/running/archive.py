"""The archive of what came out of a job (references/copilot-protocol.md, section 3.4, point 6).

A gzipped tar of the whole folder, with names relative to it (`./stdout`). Links stay links; devices, pipes, sockets
and what does not fit are left out and told. It is made with the rights of the job (`packer.py`), in the folder of
control, where the job cannot replace it before it is sent.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
from dataclasses import dataclass
from pathlib import Path

import structlog

from ucvm_agent.errors import JobError
from ucvm_agent.jobs.running import program
from ucvm_agent.jobs.running.account import Account
from ucvm_agent.jobs.running.packer import NO_ROOM, Report
from ucvm_agent.jobs.running.record import sync_folder
from ucvm_agent.jobs.running.workdir import Folder
from ucvm_agent.transfer.partial import FULL, DiskFull

log = structlog.get_logger()

PACK_SECONDS = 3600.0


@dataclass(frozen=True)
class Archive:
    """An archive, its size in bytes, and what went into it."""

    path: Path
    size: int
    report: Report


async def pack(folder: Folder, account: Account, limit: int) -> Archive:
    """Pack the folder of a job that has ended into `folder.archive`; a second call makes it anew.

    Cancellation leaves no archive and no process.

    Arguments:
        limit: bytes of the content of all files together, and of the archive.

    Raises:
        DiskFull: there is no room for the archive; JobError: it cannot be made.
    """
    temporary = folder.archive.with_suffix(".new")
    try:
        descriptor = await asyncio.to_thread(os.open, temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            report = await _run_packer(folder, account, descriptor, limit)
            await asyncio.to_thread(os.fsync, descriptor)
        finally:
            os.close(descriptor)
        temporary.rename(folder.archive)
        await asyncio.to_thread(sync_folder, folder.control)
    except OSError as error:
        if error.errno in FULL:
            raise DiskFull("the disk is full: the archive has no room", where=str(folder.archive)) from error
        raise JobError(error.strerror or str(error), where=str(folder.archive)) from error
    finally:
        temporary.unlink(missing_ok=True)
    size = folder.archive.stat().st_size
    log.info("job packed", job=folder.job, size=size, members=report.members, left_out=report.left_out_count)
    return Archive(folder.archive, size, report)


async def _run_packer(folder: Folder, account: Account, archive: int, limit: int) -> Report:
    numbers = (str(account.uid), str(account.gid), str(limit))
    process = await asyncio.create_subprocess_exec(
        *program.command("packer", str(folder.path), str(archive), folder.archive.name, *numbers),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        pass_fds=(archive,),
        start_new_session=True,
        cwd="/",
        env=program.ENVIRONMENT,
    )
    try:
        async with asyncio.timeout(PACK_SECONDS):
            report, errors = await process.communicate()
    except TimeoutError as error:
        raise JobError("the archive could not be made in time", where=str(folder.path)) from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode == NO_ROOM:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if process.returncode:
        reason = errors.decode(errors="replace").strip().rpartition("\n")[2]
        raise JobError(f"the archive could not be made: {reason}", where=str(folder.path))
    return Report(**json.loads(report))
