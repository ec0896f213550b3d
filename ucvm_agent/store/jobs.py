"""The book of jobs: what each slot has, so that no end of the agent makes it forget a job or run one twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from ucvm_agent.events import JobChanged, JobPhase
from ucvm_agent.store.database import Database
from ucvm_agent.store.events import EventQueue

KEPT_JOBS = 100
"""Jobs that stay after they are over: for `status`, and since a server may deliver a message once more."""

_OVER = ", ".join(f"'{phase}'" for phase in JobPhase if phase.over)
_COLUMNS = (
    "number, slot, message, manager, job_id, lease, phase, reason, exit_status, validation_status, boot_id,"
    " received, changed, cancel, given_up, document"
)


JOB_LINES = f"""
    SELECT slot, job_id, phase, changed, manager, exit_status, reason
    FROM (SELECT *, phase IN ({_OVER}) AS over FROM jobs ORDER BY over, number DESC LIMIT 20)
    ORDER BY over, slot, number
"""  # noqa: S608 - our own words
"""The jobs that a person wants to see: what the slots have, and the last that they had."""


@dataclass(frozen=True, slots=True)
class JobLine:
    """What `status` says of a job; it holds no secret. The times and statuses are those of `BookedJob`."""

    slot: int
    job_id: str
    phase: JobPhase
    changed: str
    manager: str
    exit_status: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class BookedJob:
    """A job as it stands in the book.

    Arguments:
        number: grows with each job.
        slot: counted from 1.
        message: id of the message that brought it.
        manager: full JID of who gave it.
        lease: empty with an original manager.
        exit_status, validation_status: raw wait statuses, once they are known.
        boot_id: the boot in which it entered its phase.
        received, changed: ISO 8601, UTC; when it came, and when it entered its phase.
        cancel: why it is to be ended; empty if it is not.
        given_up: whether its files are removed unpacked, since the disk is full.
        document: the message itself, which may hold secrets.
    """

    number: int
    slot: int
    message: str
    manager: str
    job_id: str
    lease: str
    phase: JobPhase
    reason: str
    exit_status: int | None
    validation_status: int | None
    boot_id: str
    received: str
    changed: str
    cancel: str
    given_up: bool
    document: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Question:
    """A slot has asked a manager for a job.

    Arguments:
        manager: full JID; a bare one stands for all resources.
        request: of the question; an original manager does not repeat it.
        asked: wall clock, seconds since the epoch.
    """

    slot: int
    manager: str
    request: str
    asked: float


class JobBook:
    """The jobs of a VM. Every method is one transaction, or a part of the one that is open.

    Raises:
        StoreError: from every method, if the state file cannot be used.
    """

    def __init__(self, database: Database, events: EventQueue, boot_id: str) -> None:
        self._database = database
        self._events = events
        self._boot_id = boot_id

    # Why no jobs are taken

    def drain(self, cause: str, reason: str) -> None:
        """Note that no jobs are to be taken, over restarts, until this cause has gone."""
        with self._database.transaction() as db:
            db.execute("INSERT OR REPLACE INTO drains VALUES (?, ?)", (cause, reason))

    def resume(self, cause: str) -> None:
        """Note that a cause has gone."""
        with self._database.transaction() as db:
            db.execute("DELETE FROM drains WHERE cause = ?", (cause,))

    def drains(self) -> dict[str, str]:
        """Return the reasons for which no jobs are to be taken, by their causes."""
        with self._database.transaction() as db:
            return dict(db.execute("SELECT cause, reason FROM drains ORDER BY rowid"))

    # Questions

    def ask(self, question: Question) -> None:
        """Note what is about to be asked; a slot has one question at a time."""
        with self._database.transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO questions VALUES (?, ?, ?, ?)",
                (question.slot, question.manager, question.request, question.asked),
            )

    def withdraw(self, slot: int) -> None:
        """Forget the question of a slot: what is answered from now on is not taken."""
        with self._database.transaction() as db:
            db.execute("DELETE FROM questions WHERE slot = ?", (slot,))

    def redirect(self, slot: int, manager: str) -> None:
        """Note that another manager will answer the question of a slot."""
        with self._database.transaction() as db:
            db.execute("UPDATE questions SET manager = ? WHERE slot = ?", (manager, slot))

    def questions(self) -> Sequence[Question]:
        """Return the questions that are not answered yet."""
        with self._database.transaction() as db:
            return [Question(*row) for row in db.execute("SELECT slot, manager, request, asked FROM questions")]

    # Jobs

    def take(self, slot: int, *, message: str, manager: str, job_id: str, lease: str, document: str) -> bool:
        """Give a slot a job, in answer to its question; False if this message was taken before."""
        with self._database.transaction() as db:
            if db.execute("SELECT 1 FROM jobs WHERE message = ?", (message,)).fetchone():
                return False
            now = _now()
            db.execute(
                "INSERT INTO jobs (slot, message, manager, job_id, lease, document, phase, boot_id, received, changed)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (slot, message, manager, job_id, lease, document, JobPhase.RECEIVED, self._boot_id, now, now),
            )
            db.execute("DELETE FROM questions WHERE slot = ?", (slot,))
            db.execute(
                f"DELETE FROM jobs WHERE phase IN ({_OVER}) AND number <= (SELECT max(number) FROM jobs) - ?",  # noqa: S608 - our own words
                (KEPT_JOBS,),
            )
            self._events.emit(JobChanged(job_id=job_id, lease=lease, slot=slot, phase=JobPhase.RECEIVED))
        return True

    def had(self, message: str) -> bool:
        """Return whether a message has brought a job, as far back as jobs are remembered."""
        with self._database.transaction() as db:
            return db.execute("SELECT 1 FROM jobs WHERE message = ?", (message,)).fetchone() is not None

    def adopt(self, job: BookedJob, *, message: str, manager: str, lease: str, document: str) -> None:
        """Go on with a job under another lease: it was handed out again while this machine still has it."""
        with self._database.transaction() as db:
            db.execute(
                "UPDATE jobs SET message = ?, manager = ?, lease = ?, document = ? WHERE number = ?",
                (message, manager, lease, document, job.number),
            )

    def cancel(self, job: BookedJob, reason: str) -> None:
        """Note that a job is to be ended, whatever becomes of the agent before that is done."""
        with self._database.transaction() as db:
            db.execute("UPDATE jobs SET cancel = ? WHERE number = ?", (reason, job.number))

    def give_up(self, job: BookedJob) -> None:
        """Note that the files of a job are to be removed, whatever becomes of the agent before that is done."""
        with self._database.transaction() as db:
            db.execute("UPDATE jobs SET given_up = 1 WHERE number = ?", (job.number,))

    def enter(
        self,
        job: BookedJob,
        phase: JobPhase,
        *,
        exit_status: int | None = None,
        validation_status: int | None = None,
        reason: str = "",
    ) -> None:
        """Bring a job into a phase, and queue the event that says so; a status that is known stays."""
        with self._database.transaction() as db:
            now = _now()
            db.execute(
                "UPDATE jobs SET phase = ?, reason = ?, boot_id = ?, changed = ?,"
                " exit_status = coalesce(?, exit_status), validation_status = coalesce(?, validation_status)"
                " WHERE number = ?",
                (phase, reason, self._boot_id, now, exit_status, validation_status, job.number),
            )
            row = db.execute("SELECT lease, exit_status, validation_status FROM jobs WHERE number = ?", (job.number,))
            lease, exit_status, validation_status = row.fetchone()
            self._events.emit(
                JobChanged(
                    job_id=job.job_id,
                    lease=lease,
                    slot=job.slot,
                    phase=phase,
                    exit_status=exit_status,
                    validation_status=validation_status,
                    reason=reason,
                    seconds=_seconds(job.changed, now),
                )
            )

    def job(self, slot: int) -> BookedJob | None:
        """Return the job that a slot has now."""
        return next((job for job in self.present() if job.slot == slot), None)

    def present(self) -> Sequence[BookedJob]:
        """Return the jobs that are not over, in the order in which they came."""
        with self._database.transaction() as db:
            query = f"SELECT {_COLUMNS} FROM jobs WHERE phase NOT IN ({_OVER}) ORDER BY number"  # noqa: S608 - our own words
            return [booked(row) for row in db.execute(query)]


def job_line(row: tuple[Any, ...]) -> JobLine:
    """Return a row of `JOB_LINES` as what it is."""
    line = JobLine(*row)
    return replace(line, phase=JobPhase(line.phase))


def booked(row: tuple[object, ...]) -> BookedJob:
    """Return the job that stands in a row of the book."""
    values = dict(zip(_COLUMNS.split(", "), row, strict=True))
    return BookedJob(**values | {"phase": JobPhase(str(values["phase"])), "given_up": bool(values["given_up"])})  # type: ignore[arg-type]  # as the columns are


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _seconds(since: str, until: str) -> float:
    """Return the seconds between two times; none if the clock was set back meanwhile."""
    return max(0.0, (datetime.fromisoformat(until) - datetime.fromisoformat(since)).total_seconds())
