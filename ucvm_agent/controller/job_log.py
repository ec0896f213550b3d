"""What a job writes: live from its VM while it runs, then from its archive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING

from ucvm_agent.controller.feed import Change, Missed
from ucvm_agent.controller.model import Job, JobStatus
from ucvm_agent.controller.orders import Output, Stream
from ucvm_agent.errors import OrderError

if TYPE_CHECKING:
    from ucvm_agent.controller.archives import Archives
    from ucvm_agent.controller.controller import Controller


class JobLog:
    """Shows the output of jobs."""

    def __init__(self, controller: Controller, archives: Archives) -> None:
        self._ledger = controller.ledger
        self._feed = controller.feed
        self._orders = controller.orders
        self._archives = archives

    def check(self, job: Job) -> None:
        """Say at once if there is nothing to show.

        Raises:
            OrderError: the job has not begun, runs where nothing can be seen, or has left nothing.
        """
        where = f"job {job.id}"
        if job.status is JobStatus.WAITING:
            raise OrderError("has not begun", where=where)
        if job.status is JobStatus.RUNNING and (job.lease is None or not job.lease.machine_id):
            raise OrderError("runs on an original agent, which shows nothing", where=where)
        if job.ended and job.result is None:
            raise OrderError("has left no output", where=where)

    async def follow(self, job: Job, stream: Stream, offset: int) -> AsyncGenerator[Output]:
        """Yield what a job has written and writes; the last piece says so.

        Raises:
            OrderError: it is run again elsewhere, or cannot be shown any more.
        """
        async with aclosing(self._live(job, stream, offset)) as pieces:
            async for piece in pieces:
                yield piece
                if piece.end:
                    return
                offset = piece.offset + len(piece.data)
        now = await self._ledger.job(job.id)
        if now is None or not now.ended:
            raise OrderError("was put back into the queue", where=f"job {job.id}", hint=now.reason if now else "")
        if now.result is not None:
            async with aclosing(self._archives.read(now, stream, offset)) as parts:
                async for data in parts:
                    yield Output(offset, data)
                    offset += len(data)
        yield Output(offset, b"", end=True)

    async def _live(self, job: Job, stream: Stream, offset: int) -> AsyncGenerator[Output]:
        """Yield what comes from the VM as long as it has the job."""
        with self._feed.subscribe() as changes:
            now = await self._ledger.job(job.id)
            if now is None or not _has(now, job):
                return
            gone = asyncio.ensure_future(self._gone(changes, job))
            tail = self._orders.tail(job.id, stream, offset)
            piece = asyncio.ensure_future(anext(tail))
            try:
                while True:
                    await asyncio.wait({piece, gone}, return_when=asyncio.FIRST_COMPLETED)
                    if not piece.done():
                        return
                    yield piece.result()
                    piece = asyncio.ensure_future(anext(tail))
            except StopAsyncIteration:
                return
            finally:
                gone.cancel()
                piece.cancel()
                await asyncio.gather(gone, piece, return_exceptions=True)
                await tail.aclose()

    async def _gone(self, changes: AsyncIterator[Change], job: Job) -> None:
        """Return when a job has ended, or is somebody else's."""
        async for change in changes:
            if isinstance(change, Missed) or (isinstance(change, Job) and change.id == job.id):
                now = await self._ledger.job(job.id)
                if now is None or not _has(now, job):
                    return


def _has(now: Job, job: Job) -> bool:
    """Whether whoever had a job has it still."""
    running = now.status is JobStatus.RUNNING
    return running and now.lease is not None and job.lease is not None and now.lease.id == job.lease.id
