"""Bringing the output of a job away, also from a disk that the job has filled.

An archive that has no room is tried again for a while, since others may make room. Then the job fails: that its files
are given up is written down, they are removed, and what it printed is packed and sent. Where not even that has room, it
is lost. So a full disk keeps no slot for ever.
"""

from __future__ import annotations

import asyncio
from math import inf
from typing import TYPE_CHECKING

import structlog

from ucvm_agent.errors import JobError, TransferDelayed, TransferError
from ucvm_agent.events import JobPhase
from ucvm_agent.jobs import output
from ucvm_agent.jobs.conversation import now
from ucvm_agent.jobs.progress import Progress, run_of
from ucvm_agent.transfer.partial import DiskFull

if TYPE_CHECKING:
    from ucvm_agent.jobs.conversation import Conversation
    from ucvm_agent.jobs.depot import Depot
    from ucvm_agent.jobs.running.workdir import Folder
    from ucvm_agent.jobs.workshop import Workshop

log = structlog.get_logger()


class Delivery:
    """The way of the output of one slot's jobs.

    Arguments:
        progress: of the job that the slot has.
    """

    def __init__(self, conversation: Conversation, depot: Depot, workshop: Workshop, progress: Progress) -> None:
        self._conversation = conversation
        self._depot = depot
        self._workshop = workshop
        self._progress = progress

    async def bring(self, folder: Folder) -> None:
        """Bring the output where a manager wants it, however long that takes, and say that the job is done."""
        pauses = self._conversation.delays()
        deadline = inf
        while await asyncio.to_thread(lambda: folder.archive.exists() or folder.path.exists()):
            try:
                await self._send(folder)
                return
            except DiskFull as error:
                reason = str(error)
                deadline = min(deadline, now() + self._conversation.settings.retry_limit_seconds)
                if now() >= deadline:
                    if not await self._make_room(folder):
                        return
                    deadline = inf
                    continue
            except (JobError, TransferError) as error:
                reason, deadline = str(error), inf
            pause = min(next(pauses), max(0.0, deadline - now()))
            log.warning("output is delayed", job=folder.job, reason=reason, retry_seconds=round(pause))
            self._conversation.report(f"the output of job {folder.job} is delayed: {reason}")
            await asyncio.sleep(pause)
        self._progress.end(JobPhase.LOST, "its folder is gone")

    async def _send(self, folder: Folder) -> None:
        """Pack the output, and send it.

        Raises:
            DiskFull: the archive has no room; JobError, TransferError: it could not be packed or sent.
        """
        job = self._progress.present  # anew each time, since it may be handed out once more meanwhile
        run = run_of(job)
        archive = await self._workshop.pack(folder, bare=job.given_up)
        place = await self._depot.place(job, run)
        try:
            checksum = await output.send(archive, place.order, self._workshop.transfer)
        except DiskFull as error:  # for the manifest, or where it is sent; it is packed, so there is no loss in this
            await self._workshop.strip(folder)
            raise TransferDelayed(error.message, where=error.where, hint=error.hint) from error
        self._progress.finish(place.manager, place.order.job_data or run.job_data, checksum)

    async def _make_room(self, folder: Folder) -> bool:
        """Give up the files of the job; False if there are none, so that the job itself is given up."""
        job = self._progress.present
        if job.given_up:
            self._progress.end(JobPhase.LOST, "the disk is full: not even what it printed could be packed")
            return False
        size = await self._workshop.size_of_files(folder)
        told = f"the disk was full: its output could not be packed, and {_megabytes(size)} of it was given up"
        self._progress.give_up("; ".join(filter(None, (job.reason, told))))
        return True


def _megabytes(size: int) -> str:
    return f"{max(1, round(size / 1e6))} MB" if size else "all"
