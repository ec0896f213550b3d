"""The orders that managers of ours give (docs/protocol-jobs.md, "Orders")."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING

import structlog

from ucvm_agent.copilot.messages import CancelJob, Drain, Resume, TailJob
from ucvm_agent.copilot.stanza import bare
from ucvm_agent.errors import JobError
from ucvm_agent.jobs.tailing import send_output

if TYPE_CHECKING:
    from ucvm_agent.copilot.stanza import Envelope
    from ucvm_agent.jobs.conversation import Conversation
    from ucvm_agent.jobs.worker import Worker

log = structlog.get_logger()

MOST_TAILS = 8
"""Most outputs that are sent at the same time."""


class Orders:
    """Takes orders and has them carried out; each is in the book before it is acknowledged, if it has to last."""

    def __init__(self, worker: Worker, conversation: Conversation) -> None:
        self._worker = worker
        self._conversation = conversation
        self._post = conversation.post
        self._tasks: set[asyncio.Task[None]] = set()
        self._post.on(Drain, self._on_drain, late=True)
        self._post.on(Resume, self._on_resume, late=True)
        self._post.on(CancelJob, self._on_cancel, late=True)
        self._post.on(TailJob, self._on_tail)

    async def run(self) -> None:
        """Wait until cancelled, and end then what is under way."""
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            for task in self._tasks:
                task.cancel()

    def spawn(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        """Do something beside, until the worker ends."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _on_drain(self, sender: str, order: Drain, envelope: Envelope) -> None:
        self._worker.drain(order.reason or f"{bare(sender)} wants it")
        self._post.acknowledge(envelope)

    def _on_resume(self, sender: str, _: Resume, envelope: Envelope) -> None:
        log.info("told to take jobs again", manager=sender)
        self._worker.resume()
        self._post.acknowledge(envelope)

    def _on_cancel(self, sender: str, order: CancelJob, envelope: Envelope) -> None:
        if not self._worker.cancel(order.job_id, order.lease, f"{bare(sender)} wants it"):
            log.info("a job is to be cancelled that is not here", manager=sender, job=order.job_id)
        self._post.acknowledge(envelope)

    def _on_tail(self, sender: str, order: TailJob, _: Envelope) -> None:
        if len(self._tasks) < MOST_TAILS:
            self.spawn(self._send_output(sender, order))

    async def _send_output(self, sender: str, order: TailJob) -> None:
        has_it = lambda: self._worker.has(order.job_id)  # noqa: E731 - said once
        try:
            await send_output(order, sender, self._conversation, self._worker.workshop, has_it)
        except JobError as error:
            log.warning("the output of a job cannot be sent", job=order.job_id, reason=str(error))
