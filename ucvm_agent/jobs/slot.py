"""One slot: from a question for a job to the word that it is done (references/copilot-protocol.md, section 3).

    (nothing) → received → input → running → validating → uploading → done
                    └────────┴─────────┴─────────┴───────────┴──────▶ refused | cancelled | lost

Each step stands in the book before it is made. So whatever ends the agent, the next one goes on: what was only
received is begun, what runs under its supervisor is waited for, what has ended is brought away. What has begun and is
gone was lost, and is reported so; nothing is begun twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import structlog

from ucvm_agent.errors import JobError, JobRefused, TransferError
from ucvm_agent.events import JobPhase
from ucvm_agent.jobs.delivery import Delivery
from ucvm_agent.jobs.progress import Progress, run_of
from ucvm_agent.jobs.running.record import End
from ucvm_agent.jobs.running.runner import Lost, Running, attach

if TYPE_CHECKING:
    from ucvm_agent.copilot.messages import RunJob
    from ucvm_agent.jobs.conversation import Conversation
    from ucvm_agent.jobs.depot import Depot
    from ucvm_agent.jobs.desk import Desk
    from ucvm_agent.jobs.running.runner import Ending
    from ucvm_agent.jobs.running.workdir import Folder
    from ucvm_agent.jobs.workshop import Workshop
    from ucvm_agent.store.jobs import BookedJob
    from ucvm_agent.store.store import Store

log = structlog.get_logger()


class Slot:
    """One job at a time.

    Arguments:
        number: counted from 1.
        changed: called when the slot has got a job, when it has none any more, and when `obstacle` is another one.

    Attributes:
        obstacle: why no job can be run here, for people; empty if one can.
    """

    def __init__(
        self,
        number: int,
        conversation: Conversation,
        desk: Desk,
        depot: Depot,
        store: Store,
        workshop: Workshop,
        changed: Callable[[], None],
    ) -> None:
        self.number = number
        self.obstacle = ""
        self._conversation = conversation
        self._settings = conversation.settings
        self._desk = desk
        self._store = store
        self._workshop = workshop
        self._progress = Progress(number, conversation, store)
        self._delivery = Delivery(conversation, depot, workshop, self._progress)
        self._changed = changed
        self._asking: asyncio.Task[None] | None = None
        self._working: asyncio.Task[None] | None = None
        self._over = asyncio.Event()
        self._over.set()
        self._stopped: tuple[JobPhase, str] | None = None

    @property
    def job(self) -> BookedJob | None:
        """The job that it has, as the book says."""
        return self._progress.job

    async def run(self, gate: asyncio.Event) -> None:
        """Work until cancelled; what runs goes on by itself then.

        Arguments:
            gate: jobs are asked for while it is set.
        """
        while True:
            await self._desk.settle(self.number)
            job = self.job
            if job is None:
                await gate.wait()
                await self._ask(gate)
            else:
                self._changed()
                await self._work(job)
                await self._workshop.clear(job.job_id, unless=partial(self._is_present, job.job_id))
                self._changed()

    def stop_asking(self) -> None:
        """Ask for no more jobs; one that a manager is about to send is still taken."""
        if self._asking is not None:
            self._asking.cancel()

    def cancel(self, job: BookedJob, reason: str) -> None:
        """End a job that the slot has; that stands in the book when this returns."""
        self._store.jobs.cancel(job, reason)
        self._stop(JobPhase.CANCELLED, reason)

    async def give_back(self) -> None:
        """End the job that the slot has, unless only its output is left to send; return when that is written down."""
        job = self.job
        if job is not None and job.phase is not JobPhase.UPLOADING:
            self._stop(JobPhase.LOST, "the machine, or its agent, was stopped")
            await self._over.wait()

    def _stop(self, phase: JobPhase, reason: str) -> None:
        if self._working is not None and not self._working.done():
            self._stopped = (phase, reason)
            self._working.cancel()

    async def _ask(self, gate: asyncio.Event) -> None:
        try:
            await asyncio.to_thread(self._workshop.check, self.number)
        except JobError as error:
            self._find_obstacle(f"no job can be run here: {error}")
            await asyncio.sleep(self._settings.retry_seconds)
            return
        self._find_obstacle("")
        if not gate.is_set():  # it was closed meanwhile, when there was nothing yet that `stop_asking` could stop
            return
        async with asyncio.TaskGroup() as group:
            self._asking = group.create_task(self._desk.fetch(self.number))

    def _find_obstacle(self, obstacle: str) -> None:
        if obstacle != self.obstacle:
            self.obstacle = obstacle
            self._changed()

    async def _work(self, job: BookedJob) -> None:
        self._over.clear()
        async with asyncio.TaskGroup() as group:
            renewing = group.create_task(self._progress.renew(self._settings.renewal_seconds))
            self._working = working = group.create_task(self._carry_through(job))
            if job.cancel:  # before it was begun, or before the agent was restarted
                self._stop(JobPhase.CANCELLED, job.cancel)
            await asyncio.wait({working})
            if self._stopped is not None and self.job is not None:
                await self._kill(job, *self._stopped)
            renewing.cancel()
        self._stopped = None
        self._over.set()

    async def _carry_through(self, job: BookedJob) -> None:
        """Go on with a job from where it is."""
        run = run_of(job)
        if job.phase is not JobPhase.UPLOADING:
            try:
                ending = await self._execute(job, run)
            except (JobError, TransferError) as error:
                if not isinstance(error, JobRefused):
                    # Here is something wrong: do not go through the whole queue like that.
                    seconds = self._settings.retry_seconds
                    self._conversation.be_quiet(seconds)
                    why = f"since job {job.job_id} could not be run here"
                    self._conversation.report(f"no job is asked for during {seconds:g} s, {why}")
                self._progress.end(JobPhase.REFUSED, str(error))
                return
            if not self._leaves_output(ending):
                return
        await self._delivery.bring(self._workshop.folder(job.job_id))

    async def _execute(self, job: BookedJob, run: RunJob) -> Ending:
        """Run the job, or find out how it ended."""
        folder = self._workshop.folder(job.job_id)
        ending: Ending = Lost("it was only received", began=False)
        if job.phase in (JobPhase.RUNNING, JobPhase.VALIDATING):
            found = await self._find(folder)
            ending = await self._follow(found) if isinstance(found, Running) else found
        if isinstance(ending, Lost) and not ending.began and job.phase is not JobPhase.VALIDATING:
            self._refuse_namesake(job)
            self._progress.enter(JobPhase.INPUT)
            folder = await self._workshop.prepare(run, job.manager, partial(self._report_delay, job.job_id))
            self._progress.enter(JobPhase.RUNNING)
            ending = await self._follow(await self._workshop.start(run, job.manager, folder, self.number))
        return ending

    def _report_delay(self, job_id: str, reason: str) -> None:
        self._conversation.report(f"an input of job {job_id} is delayed: {reason}")

    async def _follow(self, running: Running) -> Ending:
        """Wait for the end of a job that runs, and note when its validation begins."""
        if self._progress.present.phase is JobPhase.RUNNING and (validation := await running.validation()):
            self._progress.enter(JobPhase.VALIDATING, exit_status=validation.status)
        return await running.wait()

    async def _find(self, folder: Folder) -> Running | Ending:
        """Find out what has become of a job that may have been started."""
        while True:
            try:
                return await attach(folder.control)
            except JobError as error:
                log.error("a job cannot be looked for", job=folder.job, reason=str(error))
                await asyncio.sleep(self._settings.retry_seconds)

    def _refuse_namesake(self, job: BookedJob) -> None:
        """Refuse a job of the id that another manager's job here has, since both would have the same folder."""
        for other in self._store.jobs.present():
            if other.job_id == job.job_id and other.number < job.number:
                raise JobError("this machine has a job of the same id")

    def _is_present(self, job_id: str) -> bool:
        """Say whether any slot has a job of this id: it was handed out again, or is another manager's."""
        return any(job.job_id == job_id for job in self._store.jobs.present())

    def _leaves_output(self, ending: Ending) -> bool:
        """Note how the job ended; False if there is nothing of it to deliver."""
        if isinstance(ending, Lost):
            self._progress.end(JobPhase.LOST, ending.reason)
        elif ending.end is End.STOPPED:
            self._progress.end(JobPhase.LOST, "the machine was shut down")
        elif ending.end is End.CANCELLED:
            self._progress.end(JobPhase.CANCELLED, ending.reason)
        elif ending.end is End.UNSTARTABLE:
            self._progress.end(JobPhase.REFUSED, ending.reason)
        else:
            limit = "" if ending.end is End.OWN else f"it came to its limit of {ending.end}"
            self._progress.enter(
                JobPhase.UPLOADING,
                exit_status=ending.status,
                validation_status=ending.validate_status,
                reason=limit,
            )
            return True
        return False

    async def _kill(self, job: BookedJob, phase: JobPhase, reason: str) -> None:
        """End what runs of a job that has to be stopped."""
        with suppress(JobRefused):
            found = await self._find(self._workshop.folder(job.job_id))
            if isinstance(found, Running):
                await found.kill(reason)
                await found.wait()
        self._progress.end(phase, reason)
