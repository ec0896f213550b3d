"""Handing jobs out: `want_getJob` and `getJob`, towards original agents as section 4.2 of the reference demands.

An agent of ours asks again if an answer is lost, and a lease that nobody holds runs out: so these answers decline the
acknowledgements, which would be half of all that is said.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from urllib.parse import quote

import structlog

from ucvm_agent.controller.claims import Claims
from ucvm_agent.controller.counters import Count, Counters
from ucvm_agent.controller.errands import Errands
from ucvm_agent.controller.feed import Feed
from ucvm_agent.controller.ledger.base import Admission, Kind, Ledger, Notice
from ucvm_agent.controller.model import Input, Job, JobStatus
from ucvm_agent.controller.open_questions import OpenQuestions
from ucvm_agent.controller.settings import Settings
from ucvm_agent.copilot.messages import (
    FILE_SEPARATOR,
    GetJob,
    HaveJob,
    Host,
    JobDescription,
    NoJob,
    RunJob,
    Sleep,
    WantJob,
)
from ucvm_agent.copilot.post import Post
from ucvm_agent.copilot.stanza import Envelope, bare
from ucvm_agent.errors import DeliveryDelayed, DeliveryRefused, LedgerError

log = structlog.get_logger()

UNREADABLE = 10
"""Most descriptions that cannot be read before one request is given up."""

LOOK_SECONDS = 5.0
"""Between two looks for jobs that came unnoticed (an original tool submits to Redis), or whose taker does not come."""

GATHER_SECONDS = 0.05
"""For jobs that come together."""


class HandOut:
    """Answers agents that want jobs.

    Arguments:
        claims: whose a machine is.
        feed: tells when there may be a job for a question that is open.
        errands: does what takes time.
    """

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        claims: Claims,
        post: Post,
        feed: Feed,
        counters: Counters,
        errands: Errands,
    ) -> None:
        self._settings = settings
        self._jobs = settings.jobs
        self._ledger = ledger
        self._claims = claims
        self._post = post
        self._counters = counters
        self._errands = errands
        self._open = OpenQuestions()
        self._news = asyncio.Event()
        feed.watch(self._on_notice)
        post.on(WantJob, self._on_want)
        post.on(GetJob, self._on_get)

    async def run(self) -> None:
        """Answer open questions when jobs come, until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._news.wait()
            self._news.clear()
            try:
                await self._offer_late()
            except LedgerError as error:
                log.warning("the queue cannot be looked at", reason=str(error))
            await asyncio.sleep(GATHER_SECONDS)

    def _on_notice(self, notice: Notice) -> None:
        if notice.kind is Kind.JOB and self._open:
            self._news.set()

    async def _offer_late(self) -> None:
        """Offer as many agents a job as there are jobs; who does not come for it has been offered one in vain."""
        if not self._open:
            return
        for agent, request in self._open.oldest(await self._ledger.waiting()):
            try:
                self._post.send(agent, self._have(request), noack=True)
            except DeliveryDelayed:
                return
            self._open.forget(agent)

    def _on_want(self, sender: str, message: WantJob, envelope: Envelope) -> None:
        self._start(sender, message, lambda: self._offer(sender, message, envelope.id))

    def _on_get(self, sender: str, message: GetJob, _: Envelope) -> None:
        self._start(sender, message, lambda: self._give(sender, message))

    def _start(self, sender: str, message: Host, answer: Callable[[], Awaitable[None]]) -> None:
        """Answer, or tell an agent of ours that there is no job: one that hears nothing does not ask again for long."""

        async def work() -> None:
            try:
                await answer()
            except LedgerError:
                self._deny(sender, message)
                raise

        if not self._errands.start(work()):
            with suppress(DeliveryDelayed):
                self._deny(sender, message)

    async def _offer(self, sender: str, message: WantJob, question: str) -> None:
        if not await self._may_ask(sender, message):
            return
        if not ours(message):
            admission = await self._ledger.admit(
                bare(sender), question, now=datetime.now(UTC), cooldown=self._jobs.cooldown_seconds
            )
            if admission is Admission.TOO_SOON:
                self._post.send(sender, Sleep())
            if admission is not Admission.ADMITTED:
                return
        else:
            self._open.keep(sender, message.request)  # before the look: a job may come right after it
        if not await self._ledger.offers(machine_of(message)):
            self._refuse(sender, message)
            return
        self._open.forget(sender)
        have = self._have(message.request) if ours(message) else HaveJob(require_file=self._jobs.require_file)
        self._post.send(sender, have, noack=ours(message))

    def _have(self, request: str) -> HaveJob:
        """Return the offer of a job to an agent of ours."""
        return HaveJob(require_file=self._jobs.require_file, request=request, direct="1")

    async def _may_ask(self, sender: str, message: WantJob | GetJob) -> bool:
        """Whether the machine is one of its account; if it is not, there is never a job for it."""
        own = await self._claims.check(sender, machine_of(message), message.command, host=message.agent_host)
        if not own:
            self._deny(sender, message)
        return own

    def _refuse(self, sender: str, message: Host) -> None:
        """Note that there is no job, and tell that."""
        self._counters.count(Count.EMPTY)
        self._deny(sender, message)

    def _deny(self, sender: str, message: Host) -> None:
        """Tell an agent of ours that there is no job; an original one expects silence (section 4.2)."""
        if ours(message):
            self._post.send(sender, NoJob(request=message.request), noack=True)

    async def _give(self, sender: str, message: GetJob) -> None:
        self._open.forget(sender)
        if not await self._may_ask(sender, message):
            return
        job = await self._take(sender, message)
        if job is None or job.lease is None:
            self._refuse(sender, message)
            return
        try:
            self._post.send(sender, self._order(job, message), noack=ours(message))
        except (DeliveryDelayed, DeliveryRefused) as error:
            # Nobody can have tried it, unless the message is one that can never be sent.
            tried = isinstance(error, DeliveryRefused)
            reason = f"it could not be handed out: {error.message}"
            await self._ledger.give_back(job.id, job.lease.id, reason, now=datetime.now(UTC), tried=tried)
            return
        if not ours(message):
            seconds = self._jobs.job_seconds
            await self._ledger.extend(job.id, job.lease.id, now=datetime.now(UTC), seconds=seconds)
        self._counters.count(Count.START)
        log.info("job handed out", job=job.id, agent=sender, tries=job.tries)

    async def _take(self, sender: str, message: GetJob) -> Job | None:
        for _ in range(UNREADABLE):
            job = await self._ledger.take(
                sender,
                machine_id=machine_of(message),
                host=message.agent_host,
                now=datetime.now(UTC),
                seconds=self._jobs.lease_seconds,  # of an original agent's, too: we may be killed before it is told
            )
            if job is None or job.status is JobStatus.RUNNING:
                return job
            self._counters.count(Count.INVALID)
            log.warning("a job cannot be read", job=job.id, reason=job.reason)
        return None

    def _order(self, job: Job, message: GetJob) -> RunJob:
        """Return the order to run a job; what an original agent would not understand is left out for it."""
        told = job.description
        description = JobDescription(
            id=job.id,
            command=told.command,
            arguments=told.arguments,
            chirp_url=told.chirp_url or self._jobs.chirp.url,
            input_dir=told.input_dir or job.id,
            input_files=FILE_SEPARATOR.join(told.input_files),
            environment=told.environment,
            packages=" ".join(told.packages),
            validation_script=told.validation_script,
        )
        started = f"startedAt={int(datetime.now(UTC).timestamp())}\n"
        if not ours(message) or job.lease is None:
            return RunJob(job=description, job_data=started)
        limits = told.limits.model_dump(exclude_none=True)
        inputs = [self._input(job, each) for each in told.inputs if each.url or self._settings.http.public_url]
        extended = description.model_copy(
            update={
                "inputs": json.dumps(inputs) if inputs else "",
                "limits": json.dumps(limits) if limits else "",
            }
        )
        return RunJob(job=extended, job_data=started, request=message.request, lease=job.lease.id)

    def _input(self, job: Job, file: Input) -> dict[str, str]:
        """Return where an input file is; the job's token is for what is here only."""
        if file.url:
            return {"name": file.name, "url": file.url, "sha256": file.sha256}
        url = f"{self._settings.http.public_url.rstrip('/')}/files/{job.id}/{quote(file.name)}"
        return {"name": file.name, "url": url, "sha256": file.sha256, "token": job.token.get_secret_value()}


def ours(message: Host) -> bool:
    """Whether an agent of ours says this, which knows leases."""
    return bool(message.machine_id and message.request)


def machine_of(message: Host) -> str:
    """Return the id of the machine of an agent of ours; an original one's is empty."""
    return message.machine_id if ours(message) else ""
