"""Where the jobs of all slots are done: their folders, their account, and the files that they get."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import structlog

from ucvm_agent.errors import JobError
from ucvm_agent.jobs.description import read_inputs, read_job, read_limits
from ucvm_agent.jobs.running.account import Account, find_account
from ucvm_agent.jobs.running.archive import pack
from ucvm_agent.jobs.running.limits import Limits
from ucvm_agent.jobs.running.readers import Readers
from ucvm_agent.jobs.running.record import Order
from ucvm_agent.jobs.running.remains import remove_files, remove_temporary, size_of_files
from ucvm_agent.jobs.running.runner import Running, start
from ucvm_agent.jobs.running.tail import Chunk, Stream, tail
from ucvm_agent.jobs.running.workdir import Folder, Workdir

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from ucvm_agent.copilot.messages import RunJob
    from ucvm_agent.settings import Jobs, Transfer

log = structlog.get_logger()


class Workshop:
    """What a slot needs to do a job.

    Arguments:
        work_dir: absolute; `jobs.work_dir` beneath the root.
        transfer: how files are moved.

    Attributes:
        readers: of what jobs print.
    """

    def __init__(self, settings: Jobs, work_dir: Path, transfer: Transfer) -> None:
        self.transfer = transfer
        self.readers = Readers()
        self._settings = settings
        self._workdir = Workdir(work_dir)

    def check(self, slot: int) -> None:
        """Raise JobError if no job of this slot can be run as the settings are."""
        find_account(self._settings.user, slot)

    def warn_of_sharing(self, slots: Collection[int]) -> None:
        """Log it if jobs of several slots have the same account, so that they can read and end each other."""
        try:
            accounts = [find_account(self._settings.user, slot) for slot in slots]
        except JobError:
            return  # that is told when a slot would ask for a job
        if os.geteuid() == 0 and len({account.uid for account in accounts}) < len(accounts):
            user = self._settings.user
            names = f"useradd --system --no-create-home --shell /usr/sbin/nologin {user}-1, and so on for each slot"
            log.warning("slots share an account, so their jobs can read and end each other", user=user, hint=names)

    def folder(self, job_id: str) -> Folder:
        """Return where a job is; raises JobRefused for what is no job id."""
        return self._workdir.folder(job_id)

    async def prepare(self, run: RunJob, manager: str, delayed: Callable[[str], object]) -> Folder:
        """Make the folder of a job anew, and fetch its input.

        Arguments:
            delayed: told why an input does not come at once; it is tried for up to `transfer.deadline`.

        Raises:
            JobRefused: it asks for what is never done; JobError, TransferError: not here, or not now.
        """
        from ucvm_agent.transfer.move import get

        job = read_job(run, manager)
        read_limits(run.job, Limits.of(self._settings))  # a job that cannot be run needs no input
        inputs = read_inputs(run.job)
        folder = await self._workdir.make(job.id)
        for each in inputs:
            target = await asyncio.to_thread(folder.place, each.name)
            checksum = f"#sha256={each.sha256}" if each.sha256 and "#" not in each.url else ""
            token = each.token.get_secret_value()
            await get(each.url + checksum, target, self.transfer, token=token, delayed=delayed)
        return folder

    async def start(self, run: RunJob, manager: str, folder: Folder, slot: int) -> Running:
        """Start a job that is prepared, with the account of its slot.

        Raises:
            JobError: it cannot be started; nothing of it runs.
        """
        limits = read_limits(run.job, Limits.of(self._settings))
        account = await asyncio.to_thread(find_account, self._settings.user, slot)
        return await start(read_job(run, manager), folder, account, limits)

    async def pack(self, folder: Folder, *, bare: bool = False) -> Path:
        """Return the archive of a job that has ended; it is made once.

        Arguments:
            bare: remove the job's own files first, for want of room.

        Raises:
            DiskFull: there is no room for it; JobError: it cannot be made.
        """
        if not await asyncio.to_thread(folder.archive.exists):
            account = await asyncio.to_thread(_owner, folder)
            if account is None:
                raise JobError("nothing tells whose the job is", where=str(folder.control))
            await remove_temporary(folder)
            if bare:
                await self.strip(folder)
            await pack(folder, account, self._settings.archive_limit)
        return folder.archive

    async def size_of_files(self, folder: Folder) -> int:
        """Return the bytes of the disk that `strip` would free."""
        return await size_of_files(folder, self._settings.output_limit)

    async def strip(self, folder: Folder) -> None:
        """Remove the files of a job that has ended, but for what it printed.

        Raises:
            JobError: something could not be removed.
        """
        await remove_files(folder, self._settings.output_limit)

    async def tail(self, job_id: str, stream: Stream, offset: int, size: int) -> Chunk:
        """Return a part of what a job has printed, nothing before it was started; see `tail.tail`."""
        folder = self.folder(job_id)
        account = await asyncio.to_thread(_owner, folder)
        return await tail(folder, account, stream, offset, size) if account else Chunk(0, b"", 0)

    async def clear(self, job_id: str, *, unless: Callable[[], bool] = lambda: False) -> None:
        """Remove what is left of a job, once it was read; if that fails, the next start of the agent tries again.

        Arguments:
            unless: whether another job of the same id has the folders, now or by the time that they would be removed.
        """
        if unless():
            return
        await self.readers.dismiss(job_id)
        try:
            await self._workdir.remove(job_id, unless=unless)
        except JobError as error:
            log.warning("what a job has left cannot be removed", job=job_id[:128], reason=str(error))

    async def sweep(self, present: set[str]) -> None:
        """Remove what is left of all jobs but the present ones."""
        for job_id in await self._workdir.ids():
            if job_id not in present:
                await self.clear(job_id)


def _owner(folder: Folder) -> Account | None:
    """Return whose a job is that was started, whatever the settings say by now; None if it never was."""
    order = Order.read(folder.control)
    return order.account if order else None
