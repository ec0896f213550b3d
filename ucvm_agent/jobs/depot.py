"""Asking managers where the output of a job goes (references/copilot-protocol.md, sections 2.5 to 2.8)."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ucvm_agent.copilot.messages import GetOutputDir, HaveOutputDir, RunJob, StoreOutputDir, WantOutputDir
from ucvm_agent.copilot.stanza import bare
from ucvm_agent.jobs.conversation import Conversation

if TYPE_CHECKING:
    from ucvm_agent.store.jobs import BookedJob


@dataclass(frozen=True, slots=True)
class Place:
    """Where the output of a job goes, and who said so (a full JID)."""

    manager: str
    order: StoreOutputDir


class Depot:
    """Where slots ask for a place; one at a time: an original manager's offer tells no job."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self._turn = asyncio.Lock()
        conversation.answers(HaveOutputDir)
        conversation.answers(StoreOutputDir)

    async def place(self, job: BookedJob, run: RunJob) -> Place:
        """Ask until a manager takes the output of a job."""
        async with self._turn:
            # Who gave the job comes first; but it may be one that only hands out, or be gone.
            managers: tuple[str, ...] = (bare(job.manager),)
            pauses = self._conversation.delays()
            while True:
                await self._conversation.calm()
                manager = await self._want(job, run, managers, next(pauses))
                if manager and (place := await self._get(job, run, manager)):
                    return place
                managers = self._conversation.managers

    async def _want(self, job: BookedJob, run: RunJob, managers: tuple[str, ...], seconds: float) -> str:
        """Ask who takes it; return the full JID of one that does, or an empty string."""
        message = WantOutputDir(**self._conversation.who(job.slot, str(uuid.uuid4())), **_of(job, run))
        with self._conversation.expectations.expect(HaveOutputDir) as expectation, suppress(TimeoutError):
            for manager in managers:
                self._conversation.send(manager, message)
            async with asyncio.timeout(seconds):
                while answer := await expectation.answer():
                    if answer[1].request in ("", message.request):
                        return answer[0]
        return ""

    async def _get(self, job: BookedJob, run: RunJob, manager: str) -> Place | None:
        """Ask for the place; None if it does not come in time."""
        message = GetOutputDir(**self._conversation.who(job.slot, str(uuid.uuid4())), **_of(job, run))
        seconds = self._conversation.settings.output_answer_seconds
        with self._conversation.expectations.expect(StoreOutputDir, manager) as expectation, suppress(TimeoutError):
            self._conversation.send(manager, message)
            async with asyncio.timeout(seconds):
                while answer := await expectation.answer():
                    sender, order = answer
                    if order.job_id == job.job_id and order.request in ("", message.request):
                        return Place(sender, order)
        return None


def _of(job: BookedJob, run: RunJob) -> dict[str, str]:
    return {"job_id": job.job_id, "job_data": run.job_data, "lease": job.lease}
