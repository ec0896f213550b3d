"""The conversation with job managers, for all slots of the machine (references/copilot-protocol.md, section 3).

One slot asks at a time: an original manager's answer does not tell which slot it is for, and it counts the questions
of an account, not those of its slots. With a manager of ours a turn takes two round trips, so nobody waits long.
"""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from ucvm_agent.copilot.host import host_description
from ucvm_agent.copilot.messages import (
    Error,
    GetJob,
    GetOutputDir,
    HaveJob,
    HaveOutputDir,
    Message,
    Redirect,
    RunJob,
    Sleep,
    StoreOutputDir,
    WantJob,
    WantOutputDir,
)
from ucvm_agent.copilot.stanza import bare
from ucvm_agent.errors import DeliveryDelayed, StoreError
from ucvm_agent.jobs.expectation import Expectations, fits
from ucvm_agent.jobs.required import is_there
from ucvm_agent.store.jobs import JobBook, Question

if TYPE_CHECKING:
    from ucvm_agent.copilot.messages import AnyMessage
    from ucvm_agent.copilot.post import Post
    from ucvm_agent.copilot.stanza import Envelope
    from ucvm_agent.settings import Jobs
    from ucvm_agent.store.jobs import BookedJob

log = structlog.get_logger()

DIRECT_SECONDS = 10.0
"""How long a manager that may be asked directly is waited for; then everybody is asked (docs/protocol-jobs.md)."""

MOST_MISSES = 3
"""Demanded files in a row that may be missing; one more is reported, and we back off (section 3.3)."""

JITTER = 0.1
"""Part by which a pause may be longer, so that a fleet does not ask in step."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What an agent says of itself.

    Arguments:
        host: what the machine calls itself.
    """

    machine_id: str
    host: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where the output of a job goes, and who said so (a full JID)."""

    manager: str
    order: StoreOutputDir


def delays(first: float, longest: float) -> Iterator[float]:
    """Yield the seconds between questions: doubled each time, and from the first again after the longest."""
    delay = first
    while True:
        yield delay * random.uniform(1, 1 + JITTER)  # noqa: S311 - no secret
        delay = delay * 2 if delay * 2 <= longest else first


class Desk:
    """Asks managers for jobs and for places of output, and takes what they answer.

    Arguments:
        post: only the managers' messages come through it.
        managers: their JIDs, as the settings name them.
        tell: called with what an operator should know.

    Attributes:
        on_sleep: called when a manager has told us to sleep, with the seconds.
    """

    def __init__(
        self,
        post: Post,
        book: JobBook,
        settings: Jobs,
        managers: tuple[str, ...],
        identity: Identity,
        tell: Callable[[str], None],
    ) -> None:
        self.on_sleep: Callable[[float], None] = lambda seconds: None
        self._post = post
        self._book = book
        self._settings = settings
        self._managers = managers
        self._identity = identity
        self._tell = tell
        self._turn = asyncio.Lock()
        self._output_turn = asyncio.Lock()
        self._expectations = Expectations()
        self._arrivals: dict[int, asyncio.Future[bool]] = {}
        self._asked: dict[str, float] = {}
        self._echoing: set[str] = set()
        self._direct = ""
        self._misses = 0
        self._quiet_until = 0.0
        self._answered = asyncio.Event()
        for kind in (HaveJob, HaveOutputDir, StoreOutputDir):
            post.on(kind, self._on_answer)
        post.on(RunJob, self._on_job, late=True)
        post.on(Sleep, self._on_sleep)
        post.on(Error, self._on_error)
        post.on(Redirect, self._on_redirect)

    async def fetch(self, slot: int) -> None:
        """Ask until a manager has given this slot a job; it stands in the book then.

        If it is cancelled, a manager may still have a question of the slot: see `settle`.
        """
        async with self._turn:
            if self._direct:
                manager, self._direct = self._direct, ""
                if await self._get(slot, manager, min(DIRECT_SECONDS, self._settings.answer_seconds)):
                    self._direct = manager
                    return
            pauses = self._delays()
            request = str(uuid.uuid4())
            while True:
                await self._rest()
                manager = await self._want(slot, request, next(pauses))
                if manager:
                    pauses = self._delays()
                    if await self._get(slot, manager, self._settings.answer_seconds):
                        return

    async def settle(self, slot: int) -> None:
        """Wait for the answer to what the slot has asked before it, or the agent, was interrupted."""
        question = next((question for question in self._book.questions() if question.slot == slot), None)
        if question is not None:
            # By the wall clock, which may have been set meanwhile.
            left = question.asked + self._settings.answer_seconds - time.time()
            await self._arrival(slot, min(max(left, 0.0), self._settings.answer_seconds))

    async def output_place(self, job: BookedJob, run: RunJob) -> Place:
        """Ask until a manager takes the output of a job."""
        async with self._output_turn:
            # The manager that gave the job first; it may be one that only hands out, or be gone.
            managers: tuple[str, ...] = (bare(job.manager),)
            for pause in self._delays():
                manager = await self._want_place(job, run, managers, pause)
                while manager:
                    if place := await self._get_place(job, run, manager):
                        return place
                    manager = await self._want_place(job, run, managers, pause)
                managers = self._managers
        raise AssertionError("the pauses never end")

    # Asking for a job

    async def _rest(self) -> None:
        """Wait until there is somebody who may be asked."""
        while (left := max(self._quiet_until, min(map(self._may_ask, self._managers))) - _now()) > 0:
            await asyncio.sleep(left)

    def _may_ask(self, manager: str) -> float:
        """Return from when on a manager may be asked: an original one punishes impatience (section 3.2)."""
        last = self._asked.get(manager)
        return 0.0 if last is None or bare(manager) in self._echoing else last + self._settings.pause_seconds

    async def _want(self, slot: int, request: str, seconds: float) -> str:
        """Ask whether there is a job; return who has one (a full JID), or an empty string."""
        jdl = await asyncio.to_thread(host_description)
        with self._expectations.expect(HaveJob) as expectation, suppress(TimeoutError):
            for manager in self._managers:
                if self._may_ask(manager) <= _now():
                    self._asked[manager] = _now()
                    self._send(manager, WantJob(**self._who(slot, request), jdl=jdl))
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
        if offer.require_file and not await is_there(offer.require_file, self._settings.require_prefixes):
            self._miss(sender, offer.require_file)
            return False
        self._misses = 0 if offer.require_file else self._misses
        self._direct = sender if offer.direct == "1" else ""
        return True

    def _miss(self, manager: str, path: str) -> None:
        self._misses += 1
        log.warning("a demanded file is missing", manager=manager, path=path, misses=self._misses)
        if self._misses > MOST_MISSES:
            self._misses = 0
            self._tell(f"no job: {bare(manager)} demands {path}, which is not here")
            self._be_quiet(self._settings.retry_limit_seconds)

    async def _get(self, slot: int, manager: str, seconds: float) -> bool:
        """Ask a manager for the job; return whether it came."""
        request = str(uuid.uuid4())
        jdl = await asyncio.to_thread(host_description)
        self._book.ask(Question(slot, manager, request, time.time()))
        if not self._send(manager, GetJob(**self._who(slot, request), jdl=jdl)):
            self._book.withdraw(slot)
            return False
        return await self._arrival(slot, seconds)

    async def _arrival(self, slot: int, seconds: float) -> bool:
        self._arrivals[slot] = arrival = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(seconds):
                return await arrival
        except TimeoutError:
            self._book.withdraw(slot)
            return False
        finally:
            del self._arrivals[slot]

    # Asking for a place of output

    async def _want_place(self, job: BookedJob, run: RunJob, managers: tuple[str, ...], seconds: float) -> str:
        message = WantOutputDir(**self._who(job.slot, str(uuid.uuid4())), **_of(job, run))
        with self._expectations.expect(HaveOutputDir) as expectation, suppress(TimeoutError):
            for manager in managers:
                self._send(manager, message)
            async with asyncio.timeout(seconds):
                while answer := await expectation.answer():
                    if answer[1].request in ("", message.request):
                        return answer[0]
        return ""

    async def _get_place(self, job: BookedJob, run: RunJob, manager: str) -> Place | None:
        message = GetOutputDir(**self._who(job.slot, str(uuid.uuid4())), **_of(job, run))
        with self._expectations.expect(StoreOutputDir, manager) as expectation, suppress(TimeoutError):
            self._send(manager, message)
            async with asyncio.timeout(self._settings.output_answer_seconds):
                while answer := await expectation.answer():
                    if answer[1].job_id == job.job_id and answer[1].request in ("", message.request):
                        return Place(*answer)
        return None

    # What managers say

    def _on_answer(self, sender: str, message: Message, _: Envelope) -> None:
        if not self._expectations.take(sender, message):
            log.debug("an answer that nobody waits for", sender=sender, message=type(message).__name__)

    def _on_job(self, sender: str, run: RunJob, envelope: Envelope) -> None:
        """Put a job into the book before it is acknowledged, so that no crash makes both ends forget it."""
        question = next((each for each in self._book.questions() if _answers(sender, run, each)), None)
        if question is None:
            log.warning("a job that nobody asked for", sender=sender, job=run.job.id)
            self._post.acknowledge(envelope)
            return
        arrival = self._arrivals.get(question.slot)
        try:
            taken = self._take(question, sender, run, envelope.id)
        except StoreError as error:
            if arrival is None or arrival.done():
                raise
            arrival.set_exception(error)
            return
        self._post.acknowledge(envelope)
        if arrival is not None and not arrival.done():
            arrival.set_result(taken)

    def _take(self, question: Question, sender: str, run: RunJob, message: str) -> bool:
        """Give the job to the slot that asked; False if the machine has it already."""
        document = run.model_dump_json(by_alias=True)
        for job in self._book.present():
            if (job.job_id, bare(job.manager)) == (run.job.id, bare(sender)):
                log.warning("a job that this machine has was handed out again", job=job.job_id, slot=job.slot)
                self._book.adopt(job, message=message, manager=sender, lease=run.lease, document=document)
                self._book.withdraw(question.slot)
                return False
        job = self._book.take(
            question.slot, message=message, manager=sender, job_id=run.job.id, lease=run.lease, document=document
        )
        return job is not None

    def _on_sleep(self, sender: str, _: Sleep, __: Envelope) -> None:
        seconds = random.uniform(0, self._settings.sleep_seconds)  # noqa: S311 - no secret
        log.info("a manager wants quiet", manager=sender, seconds=round(seconds))
        self._be_quiet(seconds)
        self._drop(sender)
        self.on_sleep(seconds)

    def _on_error(self, sender: str, error: Error, _: Envelope) -> None:
        log.warning("a manager reports an error", manager=sender, reason=error.error_string)
        self._tell(f"{bare(sender)} reports an error: {error.error_string or 'without a reason'}")
        self._be_quiet(self._settings.retry_seconds)
        self._drop(sender)

    def _on_redirect(self, sender: str, redirect: Redirect, _: Envelope) -> None:
        """Do as the message says (section 2.10); who is redirected to is one of our managers."""
        raise NotImplementedError

    def _drop(self, manager: str) -> None:
        """End the conversations with a manager, but for those about a job that it may have sent."""
        self._direct = ""
        self._expectations.end(manager)
        for question in self._book.questions():
            arrival = self._arrivals.get(question.slot)
            if fits(manager, question.manager) and arrival is not None and not arrival.done():
                self._book.withdraw(question.slot)
                arrival.set_result(False)

    def _be_quiet(self, seconds: float) -> None:
        self._quiet_until = max(self._quiet_until, _now() + seconds)

    # Sending

    def _send(self, to: str, message: AnyMessage) -> bool:
        try:
            self._post.send(to, message)
        except DeliveryDelayed as error:
            log.debug("a manager cannot be asked now", manager=to, reason=error.message)
            return False
        return True

    def _who(self, slot: int, request: str) -> dict[str, str]:
        who = self._identity
        return {"agent_host": who.host, "machine_id": who.machine_id, "slot": str(slot), "request": request}

    def _delays(self) -> Iterator[float]:
        return delays(self._settings.retry_seconds, self._settings.retry_limit_seconds)


def _of(job: BookedJob, run: RunJob) -> dict[str, str]:
    return {"job_id": job.job_id, "job_data": run.job_data, "lease": job.lease}


def _answers(sender: str, run: RunJob, question: Question) -> bool:
    return fits(sender, question.manager) and run.request in ("", question.request)


def _now() -> float:
    return asyncio.get_running_loop().time()
