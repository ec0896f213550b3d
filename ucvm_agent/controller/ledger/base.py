"""What a controller must not forget, and who keeps it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from ucvm_agent.controller.model import Description, Entry, Job, JobStatus, Machine, Result, Summary, Throughput
from ucvm_agent.events import Event


class Kind(StrEnum):
    """What there is in a ledger."""

    JOB = "job"
    MACHINE = "machine"
    EVENT = "event"


@dataclass(frozen=True, slots=True)
class Notice:
    """Something in the ledger is new or other than before.

    Arguments:
        id: of the job or the machine, or the event's number.
    """

    kind: Kind
    id: str


class Admission(StrEnum):
    """What becomes of an account's question for a job."""

    ADMITTED = "admitted"
    TOO_SOON = "too soon"
    TAKEN = "taken"


class Reception(StrEnum):
    """What becomes of an event."""

    NEW = "new"
    KNOWN = "known"
    REFUSED = "refused"
    """Its machine is another account's."""


class Ledger(Protocol):
    """Jobs, machines and events. Every method is one transaction; several controllers may work on one ledger.

    Times come in as arguments (UTC), so that they can be tested.

    Attributes:
        on_notice: called on the event loop after each change, by whichever controller it was made.

    Raises:
        LedgerError: from every method, if what is behind it cannot be reached or used.
    """

    on_notice: Callable[[Notice], None]

    async def open(self) -> None:
        """Connect, and make what is missing."""

    async def close(self) -> None:
        """Let go; what was written stays."""

    async def common_key(self, account: str, key: str) -> str:
        """Return the public key by which the first controller of an account has signed; `key` if this is the first."""
        ...

    # Jobs

    async def submit(self, description: Description, *, now: datetime, id: str = "", max_tries: int = 3) -> Job:  # noqa: A002 - as the field is called
        """Put a job at the end of the queue.

        Arguments:
            id: its name; made up if empty.

        Raises:
            JobExists: there is one of this id.
        """
        ...

    async def waiting(self) -> int:
        """Return how many jobs wait."""
        ...

    async def offers(self, machine_id: str) -> bool:
        """Say whether `take` would find a job.

        Arguments:
            machine_id: empty for an original agent.
        """
        ...

    async def take(self, agent: str, *, machine_id: str, host: str, now: datetime, seconds: float) -> Job | None:
        """Lease the first job of the queue that the agent can run; None if there is none.

        One whose description cannot be read is returned as failed.

        Arguments:
            agent: full JID of who gets it.
            machine_id: empty for an original agent, which gets no job that needs one of ours.
            seconds: how long the lease lasts.
        """
        ...

    async def extend(self, id: str, lease: str, *, now: datetime, seconds: float) -> bool:  # noqa: A002 - as the field is called
        """Extend a lease; False if it is not the job's present one."""
        ...

    async def give_back(
        self,
        id: str,  # noqa: A002 - as the field is called
        lease: str,
        reason: str,
        *,
        now: datetime,
        tried: bool = True,
    ) -> Job | None:
        """Put a leased job back at the head of the queue, or fail it after its last try; None if not its lease.

        Arguments:
            tried: False if nobody can have tried it, so that it does not count.
        """
        ...

    async def finish(self, id: str, result: Result) -> Job | None:  # noqa: A002 - as the field is called
        """Keep the result of a job, of its present lease or of one that has run out meanwhile.

        A result without a lease is an original agent's: it counts if that account has had the job. None if the
        lease is none of this job, or the job is unknown or has ended already: then this result is dropped.
        """
        ...

    async def cancel(self, id: str, reason: str, *, now: datetime) -> Job | None:  # noqa: A002 - as the field is called
        """End a job; returns it as it was, so that whoever runs it can be told, None if it has ended already."""
        ...

    async def expired(self, *, now: datetime) -> Sequence[Job]:
        """Return the jobs whose lease has run out, at most 100."""
        ...

    async def ended(self, before: datetime, *, limit: int = 100, offset: int = 0) -> Sequence[Job]:
        """Return the jobs that ended before a time, those that ended first first."""
        ...

    async def strayed(self, before: datetime) -> Sequence[Job]:
        """Return jobs that another job manager took out of the queue and that have not changed since before a time."""
        ...

    async def forget(self, job: Job) -> bool:
        """Remove a job that has ended, so that its id is free again; False if this one is not there."""
        ...

    async def uploads(self) -> set[str]:
        """Return the SHA-256 of each uploaded input that a job has."""
        ...

    async def job(self, id: str) -> Job | None:  # noqa: A002 - as the field is called
        """Return a job."""
        ...

    async def jobs(self, status: JobStatus | None = None, *, limit: int = 100, before: str = "") -> Sequence[Job]:
        """Return jobs, those that were submitted last first; `before` is the id of the last one on the page before."""
        ...

    async def throughput(self, *, since: datetime, now: datetime, seconds: int) -> Sequence[Throughput]:
        """Return what ended in each span of so many seconds."""
        ...

    # Machines and events

    async def admit(self, account: str, question: str, *, now: datetime, cooldown: float) -> Admission:
        """Note that an original agent asks for a job, unless it asks too soon (references/copilot-protocol.md, 4.2).

        Arguments:
            account: bare JID.
            question: id of its message; each controller of an account gets it, and one of them is to answer.
            cooldown: seconds that have to be between two questions.
        """
        ...

    async def record(self, event: Event, jid: str, *, now: datetime) -> Reception:
        """Keep an event, unless it was kept before, and bring its machine up to date.

        Only the account that was the first to speak for a machine may do so; what another one says is counted.
        """
        ...

    async def claim(self, machine_id: str, jid: str, *, host: str = "", instance_id: str = "", now: datetime) -> bool:
        """Say whether an account may speak for a machine; one that nobody has spoken for is its own from now on.

        Arguments:
            jid: full JID of who speaks.
            host, instance_id: what the machine is called, kept if it is the account's; empty if that is not said.
        """
        ...

    async def present(self, machine_id: str, jid: str, *, online: bool, now: datetime) -> None:
        """Note that a machine has come, or has gone, if it is known and of this account."""
        ...

    async def silent(self, before: datetime) -> Sequence[Machine]:
        """Return the machines that were heard of last before a time, are away and have no job."""
        ...

    async def forget_machine(self, machine_id: str, *, before: datetime) -> bool:
        """Remove a machine with its events, unless it was heard of since; then any account may speak for it anew."""
        ...

    async def machines(self, *, limit: int | None = 1000) -> Sequence[Machine]:
        """Return the machines, those that were heard of last first.

        Arguments:
            limit: how many at most; None = all.
        """
        ...

    async def machine(self, machine_id: str) -> Machine | None:
        """Return a machine."""
        ...

    async def events(self, machine_id: str = "", *, limit: int = 100, after: int = 0) -> Sequence[Entry]:
        """Return events in order: the last ones, or those after a number."""
        ...

    async def summary(self) -> Summary:
        """Return the figures."""
        ...
