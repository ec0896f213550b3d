"""What a controller tells VMs to do: stop a job, take no more, go on, show what a job writes."""

from __future__ import annotations

import asyncio
import binascii
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

import structlog

from ucvm_agent.controller.ledger.base import Ledger
from ucvm_agent.controller.model import Job, JobStatus
from ucvm_agent.copilot.messages import AnyMessage, CancelJob, Drain, JobOutput, Resume, TailJob
from ucvm_agent.copilot.stanza import Envelope
from ucvm_agent.errors import DeliveryDelayed, OrderError

if TYPE_CHECKING:
    from ucvm_agent.copilot.post import Post

log = structlog.get_logger()

TAIL_SECONDS = 45.0
"""Between two requests to go on: an agent sends for a minute after each."""

PIECES = 1000
"""Most pieces of output that wait for a slow reader; then it is cut off, and may ask again from where it was."""

Stream = Literal["stdout", "stderr"]


@dataclass(frozen=True, slots=True)
class Output:
    """A piece of what a job has written.

    Arguments:
        offset: of its first byte in the stream.
        end: it is the last one.
    """

    offset: int
    data: bytes
    end: bool = False


class Orders:
    """Orders to VMs, and what comes back.

    Arguments:
        ledger: knows where jobs and machines are.
        post: carries the messages; those that matter are repeated until they are acknowledged.
    """

    def __init__(self, ledger: Ledger, post: Post) -> None:
        self._ledger = ledger
        self._post = post
        self._tails: dict[str, tuple[str, asyncio.Queue[Output]]] = {}
        post.on(JobOutput, self._on_output)

    async def cancel(self, job_id: str, reason: str) -> Job | None:
        """End a job, and tell whoever runs it; return it as it is then, None if it is unknown or had ended.

        An original agent cannot be told; its result will be dropped.
        """
        job = await self._ledger.cancel(job_id, reason, now=datetime.now(UTC))
        if job is None:
            return None
        if job.lease is not None and job.lease.machine_id:
            await self._order(job.lease.agent, CancelJob(job_id=job.id, lease=job.lease.id))
        return await self._ledger.job(job_id)

    async def drain(self, machine_id: str, reason: str = "") -> None:
        """Let a VM finish its jobs and take no more.

        Raises:
            OrderError: it has never been heard of.
        """
        await self._order(await self._address(machine_id), Drain(reason=reason))

    async def resume(self, machine_id: str) -> None:
        """Let a VM take jobs again.

        Raises:
            OrderError: it has never been heard of.
        """
        await self._order(await self._address(machine_id), Resume())

    async def tail(self, job_id: str, stream: Stream = "stdout", offset: int = 0) -> AsyncGenerator[Output]:
        """Yield what a running job writes, until it ends.

        Raises:
            OrderError: the job does not run, its agent is an original one, or it cannot be told now.
        """
        job = await self._ledger.job(job_id)
        if job is None or job.status is not JobStatus.RUNNING or job.lease is None:
            raise OrderError("does not run", where=f"job {job_id[:140]}", hint="its output is in its archive")
        if not job.lease.machine_id:
            raise OrderError("runs on an original agent, which shows nothing", where=f"job {job_id}")
        request = str(uuid.uuid4())
        queue: asyncio.Queue[Output] = asyncio.Queue(PIECES)
        self._tails[request] = (job.lease.agent, queue)
        try:
            while True:
                ask = TailJob(job_id=job_id, stream=stream, offset=offset, request=request)
                self._tell(job.lease.agent, ask)
                async for piece in _pieces(queue):
                    if piece.offset > offset:
                        break  # some went missing: ask for it again
                    data = piece.data[offset - piece.offset :]
                    if data or piece.end:
                        yield Output(offset, data, piece.end)
                    if piece.end:
                        return
                    offset += len(data)
        finally:
            del self._tails[request]

    def _on_output(self, sender: str, message: JobOutput, _: Envelope) -> None:
        agent, queue = self._tails.get(message.request, ("", None))
        if queue is None or agent != sender:
            return
        try:
            data = binascii.a2b_base64(message.data, strict_mode=True)
        except binascii.Error:
            log.warning("output of a job is not base64", sender=sender, job=message.job_id)
            return
        if not queue.full():
            queue.put_nowait(Output(message.offset, data, message.end == "1"))

    async def _address(self, machine_id: str) -> str:
        machine = await self._ledger.machine(machine_id)
        if machine is None or not machine.jid:
            raise OrderError("no such machine", where=machine_id[:140], hint="`ucvm-controller vms` lists all")
        return machine.jid

    async def _order(self, jid: str, message: AnyMessage) -> None:
        """Send what has to arrive; it is on the disk afterwards."""
        await asyncio.to_thread(self._post.send, jid, message, keep=True)

    def _tell(self, jid: str, message: AnyMessage) -> None:
        try:
            self._post.send(jid, message)
        except DeliveryDelayed as error:
            raise OrderError(str(error), where=jid) from error


async def _pieces(queue: asyncio.Queue[Output]) -> AsyncIterator[Output]:
    """Yield pieces until it is time to ask for more."""
    loop = asyncio.get_running_loop()
    end = loop.time() + TAIL_SECONDS
    while True:
        try:
            async with asyncio.timeout_at(end):
                piece = await queue.get()
        except TimeoutError:
            return
        yield piece
