"""The states of a VM, and the events by which its controllers follow it.

An event is written to the store in the same transaction as the state that it describes, and delivered to
each controller at least once and in order; `Event.id` lets the receiver drop what it has seen.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class State(StrEnum):
    """Where the VM is in its life; DEGRADED and FAILED can be reached from any other."""

    BOOTING = "booting"
    DISCOVERING = "discovering"
    CONTEXTUALIZING = "contextualizing"
    READY = "ready"
    WORKING = "working"
    DRAINING = "draining"
    STOPPED = "stopped"
    DEGRADED = "degraded"
    FAILED = "failed"


class Body(BaseModel):
    """The part of an event that depends on its kind."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class StateChanged(Body):
    """The VM is in another state, and why."""

    kind: Literal["state"] = "state"
    state: State
    previous: State | None = None
    reason: str = ""


class ContextReceived(Body):
    """A source gave user-data, and it was decoded."""

    kind: Literal["context"] = "context"
    source: str
    origin: str
    instance_id: str
    digest: str
    errors: int = 0
    warnings: int = 0
    problems: tuple[str, ...] = ()


class ActionEnded(Body):
    """An action of the plan was done, failed, or was skipped because something that it needs failed."""

    kind: Literal["action"] = "action"
    contextualizer: str
    action: str
    target: str
    result: Literal["done", "failed", "skipped"]
    effect: str = ""
    reason: str = ""
    seconds: float = 0.0


class Contextualized(Body):
    """A plan was carried through."""

    kind: Literal["contextualized"] = "contextualized"
    digest: str
    changed: int
    unchanged: int
    failed: int
    skipped: int
    seconds: float


class JobPhase(StrEnum):
    """Where a Co-Pilot job is on this machine; from DONE on, the slot has it no more."""

    RECEIVED = "received"
    INPUT = "input"
    RUNNING = "running"
    VALIDATING = "validating"
    UPLOADING = "uploading"
    DONE = "done"
    REFUSED = "refused"
    CANCELLED = "cancelled"
    LOST = "lost"

    @property
    def over(self) -> bool:
        """Whether the slot has the job no more."""
        return self in (JobPhase.DONE, JobPhase.REFUSED, JobPhase.CANCELLED, JobPhase.LOST)


def describe_status(status: int) -> str:
    """Return a raw wait status as a shell would tell it."""
    return f"signal {status & 127}" if status & 127 else f"code {status >> 8}"


class JobChanged(Body):
    """A job entered a phase.

    Arguments:
        lease: which handing out of the job; empty with an original manager.
        slot: counted from 1.
        exit_status, validation_status: raw wait statuses, once they are known.
        seconds: how long the phase before took.
    """

    kind: Literal["job"] = "job"
    job_id: str
    lease: str = ""
    slot: int
    phase: JobPhase
    exit_status: int | None = None
    validation_status: int | None = None
    reason: str = ""
    seconds: float = 0.0


class Note(Body):
    """Something that an operator should know and that changes no state (settings re-read, source lost, …)."""

    kind: Literal["note"] = "note"
    message: str


AnyBody = Annotated[
    StateChanged | ContextReceived | ActionEnded | Contextualized | JobChanged | Note, Field(discriminator="kind")
]


class Event(BaseModel):
    """One event as it is stored and sent.

    Arguments:
        id: UUID, the same at every delivery.
        machine_id: the VM's own UUID; a clone with a new instance-id gets a new one.
        boot_id: the boot in which it happened.
        seq: grows by one with each event of the VM (`machine_id`), over all boots, without gaps.
        time: wall clock, UTC.
        monotonic: seconds since the machine started.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    machine_id: str
    boot_id: str
    seq: int
    time: datetime
    monotonic: float
    body: AnyBody

    @property
    def name(self) -> str:
        """A dotted name for event counters (Co-Pilot's `reportEvent`): `state.ready`, `action.failed`."""
        body = self.body
        if isinstance(body, StateChanged):
            return f"state.{body.state}"
        if isinstance(body, ActionEnded):
            return f"action.{body.result}"
        if isinstance(body, JobChanged):
            return f"job.{body.phase}"
        return body.kind
