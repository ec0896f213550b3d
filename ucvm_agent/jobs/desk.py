"""Asking managers for jobs, for all slots of the machine (references/copilot-protocol.md, section 3).

One slot asks at a time: an original manager's answer does not tell which slot it is for, and it counts the questions
of an account, not those of its slots. With a manager of ours a turn takes two round trips, so nobody waits long.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from ucvm_agent.copilot.host import host_description
from ucvm_agent.copilot.messages import GetJob, HaveJob, JobState, NoJob, RunJob, WantJob
from ucvm_agent.copilot.stanza import bare
from ucvm_agent.errors import StoreError
from ucvm_agent.jobs.conversation import Conversation, now
from ucvm_agent.jobs.expectation import fits
from ucvm_agent.jobs.required import is_there
from ucvm_agent.store.jobs import Question

if TYPE_CHECKING:
    from ucvm_agent.copilot.stanza import Envelope
    from ucvm_agent.store.jobs import JobBook

log = structlog.get_logger()

DIRECT_SECONDS = 10.0
"""How long a manager that may be asked directly is waited for; then everybody is asked (docs/protocol-jobs.md)."""

OPEN_SECONDS = 300.0
"""Longest pause between questions where a manager is one of ours: it answers an open question as soon as it has a job,
unless it was started anew since."""

MOST_MISSES = 3
"""Demanded files in a row that may be missing; one more is reported, and we back off (section 3.3)."""


class Desk:
    """Where slots wait for jobs.

    Arguments:
        conversation: with the managers.
        book: where a job is before its manager knows that it has arrived.
    """

    def __init__(self, conversation: Conversation, book: JobBook) -> None:
        self._conversation = conversation
        self._settings = conversation.settings
        self._book = book
        self._turn = asyncio.Lock()
        self._arrivals: dict[int, asyncio.Future[bool]] = {}
        self._asked: dict[str, float] = {}
        self._echoing: set[str] = set()
        self._direct = ""
        self._misses = 0
        conversation.answers(HaveJob)
        conversation.follow(self._ended, self._redirected)
        conversation.post.on(RunJob, self._on_job, late=True)
        conversation.post.on(NoJob, self._on_none)

    async def fetch(self, slot: int) -> None:
        """Ask until a manager has given this slot a job; it stands in the book then.

        If this is cancelled, a manager may still have a question of the slot: see `settle`.
        """
        async with self._turn:
            if self._direct:
                manager, self._direct = self._direct, ""
                if await self._get(slot, manager, min(DIRECT_SECONDS, self._settings.answer_seconds)):
                    self._direct = manager
                    return
            pauses = self._conversation.delays()
            request = str(uuid.uuid4())
            while True:
                await self._rest()
                manager = await self._want(slot, request, self._pause(next(pauses)))
                if manager:
                    pauses = self._conversation.delays()
                    if await self._get(slot, manager, self._settings.answer_seconds):
                        return

    async def settle(self, slot: int) -> None:
        """Wait for the answer to what the slot had asked before it, or the agent, was interrupted."""
        question = next((question for question in self._book.questions() if question.slot == slot), None)
        if question is not None:
            # By the wall clock, which may have been set meanwhile.
            left = question.asked + self._settings.answer_seconds - time.time()
            await self._arrival(slot, min(max(left, 0.0), self._settings.answer_seconds))

    async def _rest(self) -> None:
        """Wait until there is somebody who may be asked."""
        while True:
            await self._conversation.calm()
            from_when = min(self._may_ask(manager) for manager in self._conversation.managers)
            left = max(self._conversation.quiet_until, from_when) - now()
            if left <= 0:
                return
            await asyncio.sleep(left)

    def _pause(self, seconds: float) -> float:
        return min(seconds, OPEN_SECONDS) if self._echoing else seconds

    def _may_ask(self, manager: str) -> float:
        """Return from when on a manager may be asked: an original one punishes impatience (section 3.2)."""
        last = self._asked.get(manager)
        return 0.0 if last is None or bare(manager) in self._echoing else last + self._settings.pause_seconds

    async def _want(self, slot: int, request: str, seconds: float) -> str:
        """Ask whether there is a job; return who has one (a full JID), or an empty string."""
        message = WantJob(**self._conversation.who(slot, request), jdl=await asyncio.to_thread(host_description))
        with self._conversation.expectations.expect(HaveJob) as expectation, suppress(TimeoutError):
            for manager in self._conversation.managers:
                if self._may_ask(manager) <= now():
                    self._asked[manager] = now()
                    self._conversation.send(manager, message)
            async with asyncio.timeout(seconds):
                while answer := await expectation.answer():
                    if await self._is_acceptable(*answer, request):
                        return answer[0]
        return ""

    async def _is_acceptable(self, sender: str, offer: HaveJob, request: str) -> bool:
        if offer.request:
            self._echoing.add(bare(sender))
            if offer.request != request:
                return False
        if offer.require_file:
            if not await is_there(offer.require_file, self._settings.require_prefixes):
                self._miss(sender, offer.require_file)
                return False
            self._misses = 0
        self._direct = sender if offer.direct == "1" else ""
        return True

    def _miss(self, manager: str, path: str) -> None:
        self._misses += 1
        log.warning("a demanded file is missing", manager=manager, path=path, misses=self._misses)
        if self._misses > MOST_MISSES:
            self._misses = 0
            self._conversation.report(f"no job: {bare(manager)} demands {path}, which is not here")
            self._conversation.be_quiet(self._settings.retry_limit_seconds)

    async def _get(self, slot: int, manager: str, seconds: float) -> bool:
        """Ask a manager for the job; return whether it came."""
        request = str(uuid.uuid4())
        message = GetJob(**self._conversation.who(slot, request), jdl=await asyncio.to_thread(host_description))
        self._book.ask(Question(slot, manager, request, time.time()))
        # A manager of ours answers in any case, so its acknowledgement would tell nothing.
        if not self._conversation.send(manager, message, noack=bare(manager) in self._echoing):
            self._book.withdraw(slot)
            return False
        return await self._arrival(slot, seconds)

    async def _arrival(self, slot: int, seconds: float) -> bool:
        arrival: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._arrivals[slot] = arrival
        try:
            async with asyncio.timeout(seconds):
                return await arrival
        except TimeoutError:
            self._book.withdraw(slot)
            return False
        finally:
            del self._arrivals[slot]

    def _on_job(self, sender: str, run: RunJob, envelope: Envelope) -> None:
        """Put a job into the book before it is acknowledged, so that no crash makes both ends forget it."""
        question = next((each for each in self._book.questions() if _answers(sender, run, each)), None)
        try:
            taken = self._take(question, sender, run, envelope.id)
        except StoreError as error:
            if question is None:
                raise
            self._settle(question.slot, error)
            return
        self._conversation.post.acknowledge(envelope)
        if question is not None:
            self._settle(question.slot, taken)

    def _take(self, question: Question | None, sender: str, run: RunJob, message: str) -> bool:
        """Give the job to the slot that asked; False if the machine has it, or had this very message, already."""
        document = run.model_dump_json(by_alias=True)
        for job in self._book.present():
            if (job.job_id, bare(job.manager)) == (run.job.id, bare(sender)):
                log.warning("a job that this machine has was handed out again", job=job.job_id, slot=job.slot)
                self._book.adopt(job, message=message, manager=sender, lease=run.lease, document=document)
                if question is not None:
                    self._book.withdraw(question.slot)
                return False
        job_id, lease = run.job.id, run.lease
        if question is None:
            self._give_back(sender, run, message)
            return False
        return self._book.take(
            question.slot, message=message, manager=sender, job_id=job_id, lease=lease, document=document
        )

    def _give_back(self, sender: str, run: RunJob, message: str) -> None:
        """Return a job that comes when nobody waits for it any more, so that it need not wait for its lease to end."""
        if self._book.had(message):
            return
        log.warning("a job that nobody asked for", sender=sender, job=run.job.id)
        if run.lease:
            who = self._conversation.who(0) | {"job_id": run.job.id, "lease": run.lease, "state": "lost"}
            late = JobState.model_validate(who | {"reason": "it came when nobody waited for it any more"})
            self._conversation.post.send(sender, late, keep=True)

    def _on_none(self, sender: str, answer: NoJob, _: Envelope) -> None:
        """End the waiting for a job that does not come; a question whether there is one stays open."""
        self._echoing.add(bare(sender))
        for question in self._book.questions():
            if fits(sender, question.manager) and answer.request == question.request:
                self._book.withdraw(question.slot)
                self._settle(question.slot, False)

    def _settle(self, slot: int, how: bool | StoreError) -> None:
        arrival = self._arrivals.get(slot)
        if arrival is None or arrival.done():
            return
        if isinstance(how, StoreError):
            arrival.set_exception(how)
        else:
            arrival.set_result(how)

    def _ended(self, manager: str) -> None:
        self._direct = ""
        for question in self._book.questions():
            if fits(manager, question.manager):
                self._book.withdraw(question.slot)
                self._settle(question.slot, False)

    def _redirected(self, manager: str, referral: str) -> None:
        for question in self._book.questions():
            if fits(manager, question.manager):
                self._book.redirect(question.slot, referral)


def _answers(sender: str, run: RunJob, question: Question) -> bool:
    return fits(sender, question.manager) and run.request in ("", question.request)
