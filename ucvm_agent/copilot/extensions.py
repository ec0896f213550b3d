"""The commands that only our own ends say to each other (docs/protocol-jobs.md); the original's peers ignore them."""

from __future__ import annotations

from typing import Literal, TypeAlias

from pydantic import Field

from ucvm_agent.copilot.commands import JobMessage, Message


class NoJob(Message):
    """There is none for this `request`; a `want_getJob` stays open, and is answered when there is one."""

    command: Literal["noJob"] = "noJob"
    request: str = ""


class JobState(JobMessage):
    """How a job is; renews its lease.

    Arguments:
        state: `lost`, `refused` and `cancelled` end the lease.
        reason: why, for a person.
    """

    command: Literal["jobState"] = "jobState"
    state: Literal["running", "uploading", "lost", "refused", "cancelled"]
    reason: str = ""


class CancelJob(Message):
    """Stop this job, and report it as cancelled."""

    command: Literal["cancelJob"] = "cancelJob"
    job_id: str = Field(alias="jobID")
    lease: str = ""


class Drain(Message):
    """Finish what you have, and take no more."""

    command: Literal["drain"] = "drain"
    reason: str = ""


class Resume(Message):
    """Take jobs again."""

    command: Literal["resume"] = "resume"


class TailJob(Message):
    """Send what the job writes, from `offset` on, for the next minute."""

    command: Literal["tailJob"] = "tailJob"
    job_id: str = Field(alias="jobID")
    stream: Literal["stdout", "stderr"] = "stdout"
    offset: int = Field(0, ge=0)
    request: str = ""


class JobOutput(Message):
    """A piece of what the job has written; `end` is `1` with the last one.

    Arguments:
        data: base64, since the protocol carries text.
    """

    command: Literal["jobOutput"] = "jobOutput"
    job_id: str = Field(alias="jobID")
    stream: Literal["stdout", "stderr"] = "stdout"
    offset: int = Field(0, ge=0)
    data: str = ""
    end: str = ""
    request: str = ""


Extension: TypeAlias = NoJob | JobState | CancelJob | Drain | Resume | TailJob | JobOutput
"""Any of them."""
