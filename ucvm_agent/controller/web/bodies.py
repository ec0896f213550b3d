"""The bodies of questions and answers, beyond the model of the controller; both ends know them."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field, JsonValue

from ucvm_agent.controller.model import Description, Entry, Job, Machine, Record, Summary, Throughput


class JobPage(Record):
    """Jobs, those that were submitted last first.

    Arguments:
        next: what `before` is for the next page; empty if this is the last one.
    """

    jobs: tuple[Job, ...]
    next: str = ""


class Submission(Record):
    """A job to be.

    Arguments:
        id: its name; made up if empty. Said again, it is refused, so one may ask again after a broken connection.
    """

    description: Description
    id: str = Field("", description="name of the job; made up if empty")


class Cancellation(Record):
    """Why a job is ended."""

    reason: str = Field("cancelled by an operator", max_length=500)


class Piece(Record):
    """A piece of what a job has written.

    Arguments:
        offset: of its first byte in the stream.
        data: base64.
        end: it is the last one.
    """

    offset: int
    data: str
    end: bool


class Machines(Record):
    """VMs, those that were heard of last first."""

    vms: tuple[Machine, ...]


class Draining(Record):
    """Why a VM is to take no more jobs."""

    reason: str = Field("", max_length=500)


class Pushed(Record):
    """Which context a VM was told of.

    Arguments:
        sequence: when it was written, in microseconds since 1970; the VM takes it if it is newer than its own.
    """

    sequence: int


class Plan(Record):
    """What a VM would do; the form is that of `ucvm-agent --dry-run --format json`."""

    plan: JsonValue


class Gone(Record):
    """A VM that is not known any more."""

    machine_id: str


class Entries(Record):
    """Events, in order."""

    events: tuple[Entry, ...]


class Overview(Summary):
    """The fleet and the queue in figures.

    Arguments:
        controller: its name among the controllers of its account.
        connected: whether it has a session with the XMPP server.
    """

    controller: str
    version: str
    connected: bool
    time: datetime


class Spans(Record):
    """What has ended in each span of time; the last one is not over."""

    spans: tuple[Throughput, ...]
