"""What a controller knows: jobs and machines."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from ucvm_agent.errors import UsageError
from ucvm_agent.events import Event, State

_JOB_ID = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._-]{1,128}")
"""An id is also the name of a folder and of a file (references/copilot-protocol.md, section 6.6)."""

REASON_LENGTH = 500
"""Most characters of a reason that are kept."""


def check_id(id: str) -> str:  # noqa: A002 - as the field is called
    """Return the id of a job.

    Raises:
        UsageError: no job may be called so.
    """
    if not _JOB_ID.fullmatch(id):
        raise UsageError("not a name for a job", where=repr(id[:140]), hint="up to 128 of A-Z a-z 0-9 . _ -")
    return id


def new_token() -> str:
    """Return a token that lets the holder of a lease at the job's files."""
    return secrets.token_urlsafe(24)


def spans(since: datetime, now: datetime, seconds: int) -> Iterator[datetime]:
    """Yield the beginnings of the spans of so many seconds from `since` to `now`."""
    while since <= now:
        yield since
        since += timedelta(seconds=seconds)


class Record(BaseModel):
    """The base of what is kept and shown; also the schema of the HTTP API."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class JobStatus(StrEnum):
    """Where a job is in its life."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Input(Record):
    """One input file of a job, if it is not on the Chirp server.

    Arguments:
        url: where it is; empty for one that was uploaded to the controller.
        sha256: hexadecimal; empty if nobody knows.
    """

    name: str
    url: str = ""
    sha256: str = ""


class Limits(Record):
    """What a job may use at most; None leaves it to the VM."""

    wall_seconds: float | None = Field(None, gt=0)
    memory_bytes: int | None = Field(None, gt=0)
    cpus: float | None = Field(None, gt=0)
    processes: int | None = Field(None, gt=0)
    disk_bytes: int | None = Field(None, gt=0)


class Description(Record):
    """What to run; the fields are those of the protocol (references/copilot-protocol.md, section 2.4).

    Arguments:
        ours_only: keep it for agents of ours, since an original one knows nothing but the Chirp server; one with
            inputs at URLs is kept for them in any case.
    """

    command: str
    arguments: str = ""
    environment: str = ""
    packages: tuple[str, ...] = ()
    input_files: tuple[str, ...] = ()
    inputs: tuple[Input, ...] = ()
    chirp_url: str = ""
    input_dir: str = ""
    validation_script: str = ""
    limits: Limits = Limits()
    ours_only: bool = False

    @property
    def needs_ours(self) -> bool:
        """Whether only an agent of ours can run it."""
        return self.ours_only or any(file.url for file in self.inputs)


class Lease(Record):
    """One handing out of a job.

    Arguments:
        id: in the messages of an agent of ours; an original one is known by its account.
        agent: its full JID.
        machine_id: empty for an original agent.
        host: what it calls itself.
    """

    id: str
    agent: str
    machine_id: str = ""
    host: str = ""
    since: datetime
    expires: datetime


class Result(Record):
    """How a job has ended.

    Arguments:
        exit_status, validation_status: raw wait statuses.
        limit: what the machine says of a limit that ended it; empty if there was none.
        archive: name of the output below the controller's or the Chirp server's folder; empty if there is none.
    """

    lease: str
    agent: str
    machine_id: str = ""
    host: str = ""
    exit_status: int
    validation_status: int | None = None
    limit: str = Field("", max_length=REASON_LENGTH)
    archive: str = ""
    checksum: str = ""
    seconds: float = 0.0
    ended: datetime


class Job(Record):
    """A job, as it is now.

    Arguments:
        tries: how often it was handed out.
        reason: of its status, or why it was put back; for a person.
        token: lets its agent fetch inputs and put its output; new with each lease.
        takers: the account that got each lease, the present one and those that have run out.
    """

    id: str
    description: Description
    status: JobStatus = JobStatus.WAITING
    submitted: datetime
    changed: datetime
    tries: int = 0
    max_tries: int = 3
    lease: Lease | None = None
    result: Result | None = None
    reason: str = ""
    token: SecretStr = Field(SecretStr(""), exclude=True)
    takers: dict[str, str] = Field({}, exclude=True)

    @property
    def ended(self) -> bool:
        """Whether nothing more will become of it."""
        return self.status in (JobStatus.DONE, JobStatus.FAILED, JobStatus.CANCELLED)


class Machine(Record):
    """A VM, as it tells.

    Arguments:
        jid: the full JID that it reported from last; only this account may speak for it.
        host: its name, as it says.
        instance_id: what its platform calls it, as it says; empty if it has not said so.
        failure: the reason that it gave last for being degraded or failed.
        jobs: those that it has now.
        online: whether its XMPP presence says so.
        refused: how often another account has claimed to be it.
        refused_from: the full JID of whoever did so last.
    """

    machine_id: str
    jid: str = ""
    host: str = ""
    instance_id: str = ""
    boot_id: str = ""
    state: State | None = None
    reason: str = ""
    failure: str = ""
    since: datetime | None = None
    seen: datetime
    online: bool = False
    jobs: tuple[str, ...] = ()
    refused: int = 0
    refused_from: str = ""


class Entry(Record):
    """An event in the ledger.

    Arguments:
        number: its own in this ledger; numbers grow.
        host: what its machine is called now; empty if nobody knows.
    """

    number: int
    host: str = ""
    event: Event


class Throughput(Record):
    """What ended in one span of time.

    Arguments:
        begin: of the span.
        seconds: its length.
    """

    begin: datetime
    seconds: int
    done: int = 0
    failed: int = 0


class Summary(Record):
    """The fleet and the queue in figures."""

    waiting: int = 0
    running: int = 0
    done: int = 0
    failed: int = 0
    cancelled: int = 0
    machines: int = 0
    online: int = 0
    states: dict[str, int] = {}
