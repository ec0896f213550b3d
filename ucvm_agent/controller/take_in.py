"""Taking in what becomes of jobs: their state, their output, their end."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime

import structlog

from ucvm_agent.controller import folders
from ucvm_agent.controller.counters import Count, Counters
from ucvm_agent.controller.errands import Errands
from ucvm_agent.controller.hand_out import ours
from ucvm_agent.controller.ledger.base import Ledger
from ucvm_agent.controller.model import REASON_LENGTH, Job, Result, check_id
from ucvm_agent.controller.settings import Settings
from ucvm_agent.copilot.messages import (
    CancelJob,
    GetOutputDir,
    HaveOutputDir,
    JobDone,
    JobMessage,
    JobState,
    StoreOutputDir,
    WantOutputDir,
)
from ucvm_agent.copilot.post import Post
from ucvm_agent.copilot.stanza import Envelope, bare
from ucvm_agent.errors import LedgerError, UsageError

log = structlog.get_logger()

_STARTED = re.compile(r"^startedAt=(\d{1,12})\s*$", re.MULTILINE)


class TakeIn:
    """Answers agents that have jobs.

    What decides over a job is acknowledged only when it is in the ledger, so a controller may be killed at any time.
    """

    def __init__(self, settings: Settings, ledger: Ledger, post: Post, counters: Counters, errands: Errands) -> None:
        self._settings = settings
        self._chirp = settings.jobs.chirp
        self._ledger = ledger
        self._post = post
        self._counters = counters
        self._errands = errands
        post.on(JobDone, self._on_done, late=True)
        post.on(JobState, self._on_state, late=True)
        if settings.jobs.duty != "queue":
            post.on(WantOutputDir, self._on_want)
            post.on(GetOutputDir, self._on_get)

    async def run(self) -> None:
        """Put away what was left when the controller was killed between the end of a job and its last word."""
        if self._chirp.folder is None or self._chirp.done_dir is None:
            return
        try:
            for job_id in await asyncio.to_thread(folders.with_archive, self._chirp.folder):
                job = await self._ledger.job(job_id)
                if job is not None and job.result is not None:
                    await self._put_away(job.id, job.result.ended)
        except OSError as error:
            log.error("the folders of jobs cannot be read", reason=error.strerror)
        except LedgerError as error:
            log.warning("archives are not put away", reason=str(error))

    def _on_want(self, sender: str, message: WantOutputDir, _: Envelope) -> None:
        self._errands.start(self._offer_place(sender, message))

    def _on_get(self, sender: str, message: GetOutputDir, _: Envelope) -> None:
        self._errands.start(self._give_place(sender, message))

    def _on_done(self, sender: str, message: JobDone, envelope: Envelope) -> None:
        self._errands.start(self._finish(sender, message, envelope))

    def _on_state(self, sender: str, message: JobState, envelope: Envelope) -> None:
        self._errands.start(self._follow(sender, message, envelope))

    # Output

    async def _offer_place(self, sender: str, message: WantOutputDir) -> None:
        self._post.send(sender, HaveOutputDir(request=message.request))

    async def _give_place(self, sender: str, message: GetOutputDir) -> None:
        try:
            job_id = check_id(message.job_id)
        except UsageError as error:
            log.warning("no place for the output of a job", sender=sender, reason=str(error))
            return
        job = await self._ledger.job(job_id)
        if not self._may_store(job, sender):
            log.warning("no place for the output of somebody else's job", sender=sender, job=job_id)
            return
        place = await self._place(job_id, job, message)
        if place is not None:
            self._post.send(sender, place)

    def _may_store(self, job: Job | None, sender: str) -> bool:
        """Whether an account has had a job; where only output is stored, others hand the jobs out."""
        if job is None or not job.takers:
            return job is not None or self._settings.jobs.duty == "storage"
        return bare(sender) in job.takers.values()

    async def _place(self, job_id: str, job: Job | None, message: GetOutputDir) -> StoreOutputDir | None:
        url = self._settings.http.public_url.rstrip("/") if ours(message) and job is not None else ""
        if not url and not self._chirp.url:
            log.error("there is no place for the output of jobs", hint="set jobs.chirp.url or http.public_url")
            return None
        if self._chirp.folder is not None:
            try:
                await asyncio.to_thread(folders.make, self._chirp.folder, job_id)
            except OSError as error:
                log.error("the folder of a job cannot be made", job=job_id, reason=error.strerror)
                return None
        return StoreOutputDir(
            job_id=job_id,
            output_chirp_url=self._chirp.url,
            output_dir=job_id,
            request=message.request,
            output_url=f"{url}/files/{job_id}/{job_id}.tgz" if url else "",
            output_token=job.token.get_secret_value() if url and job else "",
        )

    # State

    async def _follow(self, sender: str, message: JobState, envelope: Envelope) -> None:
        job = await self._ledger.job(message.job_id)
        if job is None or job.takers.get(message.lease) != bare(sender):
            log.warning("a job that an agent tells of is not its own", sender=sender, job=message.job_id[:128])
        else:
            await self._apply(job, message, sender)
        self._post.acknowledge(envelope)

    async def _apply(self, job: Job, message: JobState, sender: str) -> None:
        now = datetime.now(UTC)
        match message.state:
            case "running" | "uploading":
                seconds = self._settings.jobs.lease_seconds
                alive = await self._ledger.extend(job.id, message.lease, now=now, seconds=seconds)
                if not alive and job.ended:
                    await self._recall(job.id, message.lease, sender)
            case "lost" | "refused":
                reason = message.reason or f"its machine says: {message.state}"
                await self._ledger.give_back(job.id, message.lease, reason, now=now)
            case "cancelled" if job.lease is not None and job.lease.id == message.lease:
                await self._ledger.cancel(job.id, message.reason or "its machine stopped it", now=now)

    # End

    async def _finish(self, sender: str, message: JobDone, envelope: Envelope) -> None:
        try:
            result = _result(sender, message)
        except ValueError:
            log.warning("a job's end is malformed", sender=sender, job=message.job_id[:128])
            self._post.acknowledge(envelope)
            return
        job = await self._ledger.finish(message.job_id, result)
        if job is not None and job.result is not None:
            what = Count.FAILED if result.exit_status else Count.SUCCEEDED
            self._counters.count(what, seconds=result.seconds)
            log.info("job ended", job=job.id, status=job.status, agent=sender)
            if job.lease is not None and job.lease.id != job.result.lease:
                await self._recall(job.id, job.lease.id, job.lease.agent)
        else:
            job = await self._ledger.job(message.job_id)
            log.info("a job's end is dropped", sender=sender, job=message.job_id[:128], known=job is not None)
        if job is not None and job.result is not None and job.result.agent == sender:
            # Also when it comes again: the controller may have been killed before this.
            await self._put_away(job.id, job.result.ended)
        self._post.acknowledge(envelope)

    async def _put_away(self, job_id: str, when: datetime) -> None:
        if self._chirp.folder is None or self._chirp.done_dir is None:
            return
        try:
            await asyncio.to_thread(
                folders.put_away, self._chirp.folder, job_id, self._chirp.done_dir, when.astimezone()
            )
        except OSError as error:
            log.error("an archive cannot be put away", job=job_id, reason=error.strerror)

    async def _recall(self, job_id: str, lease: str, agent: str) -> None:
        """Stop a run of a job that has ended otherwise."""
        await asyncio.to_thread(self._post.send, agent, CancelJob(job_id=job_id, lease=lease), keep=True)


def _result(sender: str, message: JobDone) -> Result:
    """Return what `jobDone` says.

    Raises:
        ValueError: it says no number where there has to be one.
    """
    now = datetime.now(UTC)
    return Result(
        lease=message.lease,
        agent=sender,
        machine_id=message.machine_id,
        host=message.agent_host,
        exit_status=int(message.exit_code),
        validation_status=int(message.validate_exit_code) if message.validate_exit_code else None,
        limit=message.reason[:REASON_LENGTH],
        archive=f"{message.job_id}/{message.job_id}.tgz",
        checksum=message.checksum,
        seconds=_seconds(message, now),
        ended=now,
    )


def _seconds(message: JobMessage, now: datetime) -> float:
    """Return how long a job took, as the data say that we gave with it; 0 if they say nothing."""
    started = _STARTED.search(message.job_data)
    return max(0.0, now.timestamp() - int(started[1])) if started else 0.0
