"""What operators can do with this machine: the `Machine` of `operators`, made of the parts of the daemon."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from ucvm_agent.errors import CommandRefused
from ucvm_agent.events import Note
from ucvm_agent.store import status
from ucvm_agent.store.render_status import jobs_text, status_text

if TYPE_CHECKING:
    from ucvm_agent.daemon.renewal import Renewal
    from ucvm_agent.jobs.worker import Worker
    from ucvm_agent.settings import Settings
    from ucvm_agent.store.store import Store

log = structlog.get_logger()

TAIL_BYTES = 8192
"""What is shown of the output of a job."""


class Operation:
    """The machine in the hands of its operators.

    Arguments:
        worker: does the jobs; None if the machine takes none.
        renewal: contextualizes anew.
    """

    def __init__(self, settings: Settings, store: Store, worker: Worker | None, renewal: Renewal) -> None:
        self._settings = settings
        self._store = store
        self._worker = worker
        self._renewal = renewal

    @property
    def takes_jobs(self) -> bool:
        """Whether it works for job managers at all."""
        return self._worker is not None

    @property
    def allows_shutdown(self) -> bool:
        """Whether operators may shut it down."""
        return self._settings.operators.allow_shutdown

    def job_ids(self) -> Sequence[str]:
        """Return the jobs that it has now."""
        return [job.job_id for job in self._store.jobs.present()]

    async def status(self, who: str) -> str:
        """Tell the state and its reasons, as `ucvm-agent status` does."""
        self._note(who, "status")
        found = await asyncio.to_thread(status.read, self._store.path)
        now = datetime.now(UTC)
        return status_text(found, running=True, boot_id=self._store.boot_id, settings=self._settings, now=now)

    async def jobs(self, who: str) -> str:
        """List the jobs that there are, and the last that there were."""
        self._note(who, "jobs")
        return jobs_text((await asyncio.to_thread(status.read, self._store.path)).jobs)

    async def tail(self, who: str, job_id: str, stream: str) -> str:
        """Return the end of what a job has written to `stdout` or `stderr`."""
        from ucvm_agent.jobs.running.tail import Stream

        worker = self._working(job_id)
        if stream not in list(Stream):
            raise CommandRefused(f"a job has no such stream: {stream[:100]}", hint=f"one of {', '.join(Stream)}")
        self._note(who, f"tail {job_id} {stream}")
        chunk = await worker.workshop.tail(job_id, Stream(stream), -TAIL_BYTES, TAIL_BYTES)
        return chunk.data.decode("utf-8", "replace") or f"nothing on {stream} so far"

    async def pause(self, who: str) -> str:
        """Take no more jobs until `resume`, or until the agent starts anew."""
        from ucvm_agent.jobs.worker import Cause

        worker = self._working()
        with self._store.transaction():
            self._note(who, "pause")
            worker.drain(f"paused by {who}", Cause.PAUSE)
        return self._standing("no more jobs are taken, until resume or a restart of the agent")

    async def resume(self, who: str) -> str:
        """Take jobs again after `pause` or `drain`."""
        from ucvm_agent.jobs.worker import Cause

        worker = self._working()
        with self._store.transaction():
            self._note(who, "resume")
            for cause in (Cause.PAUSE, Cause.ORDER):
                worker.resume(cause)
        left = "; ".join(self._store.jobs.drains().values())
        return self._standing(f"still no jobs are taken: {left}" if left else "jobs are taken again")

    async def drain(self, who: str, reason: str) -> str:
        """Finish the jobs and take no more until `resume`, over restarts as well."""
        worker = self._working()
        with self._store.transaction():
            self._note(who, f"drain {reason}".strip())
            worker.drain(f"drained by {who}{f': {reason}' if reason else ''}")
        return self._standing("no more jobs are taken, until resume")

    async def cancel(self, who: str, job_id: str) -> str:
        """End a job; its manager is told."""
        worker = self._working(job_id)
        self._note(who, f"cancel {job_id}")
        if not worker.cancel(job_id, reason=f"cancelled by {who}"):
            raise CommandRefused(f"no slot has this job any more: {job_id}")
        return f"{job_id} is being ended"

    async def rehearse(self, who: str) -> str:
        """Look for user-data anew and return the plan that comes of it; nothing is changed."""
        self._note(who, "recontextualize: look at the plan")
        return await self._renewal.propose(who)

    async def recontextualize(self, who: str) -> str:
        """Carry out the plan that this operator was shown last."""
        self._note(who, "recontextualize: apply the plan")
        origin = self._renewal.agree(who)
        return f"the user-data of {origin} is applied: status tells how that ends"

    async def shut_down(self, who: str) -> str:
        """Shut the machine down."""
        from ucvm_agent.jobs.reboot import power_off

        if not self.allows_shutdown:
            raise CommandRefused("operators may not shut this machine down", where="operators.allow_shutdown")
        self._note(who, "shutdown")
        await power_off()
        return "the machine is being shut down"

    def _working(self, job_id: str | None = None) -> Worker:
        """Return the worker, if there is one, and if it has this job."""
        if self._worker is None:
            raise CommandRefused("this machine takes no jobs", where="jobs.enabled")
        if job_id is not None and job_id not in self.job_ids():
            raise CommandRefused(f"no slot has this job: {job_id[:128]}" if job_id else "no slot has a job")
        return self._worker

    def _standing(self, what: str) -> str:
        jobs = len(self.job_ids())
        return f"{what} (jobs here now: {jobs})"

    def _note(self, who: str, command: str) -> None:
        log.info("an operator gives a command", operator=who, command=command[:200])
        self._store.events.emit(Note(message=f"operator {who}: {command}"[:500]))
