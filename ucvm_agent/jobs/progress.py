"""How the job of a slot gets on: as it stands in the book, and as its manager is told."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from ucvm_agent.copilot.messages import JobDone, JobState, RunJob
from ucvm_agent.copilot.stanza import bare
from ucvm_agent.errors import DeliveryRefused
from ucvm_agent.events import JobPhase

if TYPE_CHECKING:
    from ucvm_agent.copilot.messages import AnyMessage
    from ucvm_agent.jobs.conversation import Conversation
    from ucvm_agent.store.jobs import BookedJob
    from ucvm_agent.store.store import Store

log = structlog.get_logger()

MAX_REASON = 500
"""Characters of a reason that a manager is told."""

FAREWELLS = {JobPhase.REFUSED: 126 << 8, JobPhase.CANCELLED: 15, JobPhase.LOST: 9}
"""How a job ended, as a wait status, for original managers, which know no other word than `jobDone`: as a shell tells
that a command cannot be run, ended by SIGTERM, killed by SIGKILL."""


class Progress:
    """The job of a slot, as the book has it.

    Arguments:
        number: of the slot.
    """

    def __init__(self, number: int, conversation: Conversation, store: Store) -> None:
        self._number = number
        self._conversation = conversation
        self._store = store

    @property
    def job(self) -> BookedJob | None:
        """The job, if the slot has one."""
        return self._store.jobs.job(self._number)

    @property
    def present(self) -> BookedJob:
        """The job, where the slot must have one."""
        job = self.job
        if job is None:
            raise AssertionError("a slot without a job cannot go on with it")
        return job

    def enter(
        self,
        phase: JobPhase,
        *,
        exit_status: int | None = None,
        validation_status: int | None = None,
        reason: str = "",
    ) -> None:
        """Bring the job into a phase in which the slot still has it."""
        job = self.present
        self._store.jobs.enter(job, phase, exit_status=exit_status, validation_status=validation_status, reason=reason)
        log.info("job goes on", job=job.job_id, slot=self._number, phase=phase.value, reason=reason or None)
        self._say_alive()

    def give_up(self, reason: str) -> None:
        """Have the job fail since its files will be removed unpacked; both are written down, or neither."""
        job = self.present
        with self._store.transaction():
            self._store.jobs.give_up(job)
            self.enter(JobPhase.UPLOADING, exit_status=job.exit_status or FAREWELLS[JobPhase.LOST], reason=reason)

    def finish(self, manager: str, job_data: str, checksum: str) -> None:
        """End a job whose output is where it belongs: its manager is told, and the slot has it no more, or neither.

        Arguments:
            manager: full JID of who took the output.
            job_data: its own, or that of who gave the job.
            checksum: SHA-256 of the archive, in hexadecimal.
        """
        job = self.present
        validated = "" if job.validation_status is None else str(job.validation_status)
        done = JobDone(
            **self._conversation.who(self._number),
            job_id=job.job_id,
            job_data=job_data,
            lease=job.lease,
            exit_code=str(job.exit_status),
            validate_exit_code=validated,
            checksum=checksum,
            reason=job.reason if job.lease else "",
        )
        with self._store.transaction():
            self._tell(manager, done)
            self._store.jobs.enter(job, JobPhase.DONE, reason=job.reason)

    def end(self, phase: JobPhase, reason: str) -> None:
        """End a job without output: its manager is told, and the slot has it no more, both or neither."""
        job = self.present
        run = run_of(job)
        who = self._conversation.who(self._number) | {"job_id": job.job_id, "job_data": run.job_data}
        message: AnyMessage = JobDone(**who, exit_code=str(FAREWELLS[phase]))
        if job.lease:
            message = JobState.model_validate(
                who | {"lease": job.lease, "state": phase.value, "reason": reason[:MAX_REASON]}
            )
        with self._store.transaction():
            self._tell(job.manager, message)
            self._store.jobs.enter(job, phase, reason=reason)
        log.info("job ended", job=job.job_id, phase=phase.value, reason=reason)

    async def renew(self, seconds: float) -> None:
        """Say again and again that the job is alive, until cancelled."""
        while True:
            self._say_alive()
            await asyncio.sleep(seconds)

    def _say_alive(self) -> None:
        job = self.job
        if job is not None and job.lease:
            # A manager that is older than the phase of validation would refuse its name, and let the lease run out.
            state = "uploading" if job.phase is JobPhase.UPLOADING else "running"
            who = self._conversation.who(self._number) | {"job_id": job.job_id, "lease": job.lease, "state": state}
            # To all controllers of the account: the one that gave it may be gone, and the others let the lease run out.
            self._conversation.send(bare(job.manager), JobState.model_validate(who))

    def _tell(self, manager: str, message: AnyMessage) -> None:
        """Say something until it is heard."""
        try:
            self._conversation.post.send(manager, message, keep=True)
        except DeliveryRefused as error:  # what the manager itself has sent is too large to be sent back
            log.error("the end of a job cannot be told", manager=manager, reason=str(error))


def run_of(job: BookedJob) -> RunJob:
    """Return the order that brought a job."""
    return RunJob.model_validate_json(job.document)
