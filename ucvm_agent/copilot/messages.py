"""Every command of the Co-Pilot protocol as a typed message: the one door to them.

`read` makes one of what came over the wire, `content` makes of one what goes over it. `commands.py` has those of the
original, `extensions.py` ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, TypeAlias, get_args

from pydantic import Field, TypeAdapter, ValidationError

from ucvm_agent.copilot.commands import (
    FILE_SEPARATOR,
    Command,
    Error,
    GetJob,
    GetOutputDir,
    GetStatus,
    GetTicket,
    HaveJob,
    HaveOutputDir,
    HaveStatus,
    Host,
    JobDescription,
    JobDone,
    JobMessage,
    Message,
    Ping,
    Pong,
    Redirect,
    ReportDuration,
    ReportEvent,
    ReportValue,
    RunJob,
    SecurityError,
    Sleep,
    StoreOutputDir,
    StoreTicket,
    WantJob,
    WantOutputDir,
)
from ucvm_agent.copilot.extensions import (
    CancelJob,
    Drain,
    Extension,
    JobOutput,
    JobState,
    NoJob,
    Resume,
    TailJob,
)
from ucvm_agent.copilot.stanza import Envelope, Hash
from ucvm_agent.errors import MessageRefused

__all__ = [
    "COMMANDS",
    "FILE_SEPARATOR",
    "LASTING",
    "AnyMessage",
    "CancelJob",
    "Drain",
    "Error",
    "GetJob",
    "GetOutputDir",
    "GetStatus",
    "GetTicket",
    "HaveJob",
    "HaveOutputDir",
    "HaveStatus",
    "Host",
    "JobDescription",
    "JobDone",
    "JobMessage",
    "JobOutput",
    "JobState",
    "Message",
    "NoJob",
    "Ping",
    "Pong",
    "Redirect",
    "ReportDuration",
    "ReportEvent",
    "ReportValue",
    "Resume",
    "RunJob",
    "SecurityError",
    "Sleep",
    "StoreOutputDir",
    "StoreTicket",
    "TailJob",
    "WantJob",
    "WantOutputDir",
    "content",
    "read",
]

AnyMessage: TypeAlias = Command | Extension

_MESSAGE: TypeAdapter[AnyMessage] = TypeAdapter(Annotated[AnyMessage, Field(discriminator="command")])


COMMANDS = frozenset(kind.model_fields["command"].default for kind in get_args(AnyMessage))
"""All commands that there are."""

LASTING = (JobDone, JobState, CancelJob, Drain, Resume, ReportEvent, ReportDuration, ReportValue)
"""What still counts after a server has held it back; all else is about a moment (section 1.6)."""


def read(envelope: Envelope) -> AnyMessage | None:
    """Return what a message says; None if it is no command that we know.

    Raises:
        MessageRefused: the command is known, but what it needs is missing or wrong; quotes no value.
    """
    if envelope.command not in COMMANDS:
        return None
    try:
        return _MESSAGE.validate_python(envelope.info)
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, each['loc']))} ({each['type']})" for each in error.errors(include_input=False)]
        raise MessageRefused(f"malformed {envelope.command}: {', '.join(wrong)[:500]}") from None


def content(message: AnyMessage) -> Hash:
    """Return the content of the `<message>` that says this; what may be absent is left out if it is empty."""
    return {"info": _hash(message)}


def _hash(message: Message) -> Hash:
    said: dict[str, str | Hash] = {}
    for name, field in type(message).model_fields.items():
        value = getattr(message, name)
        if not value == field.default == "":
            said[field.serialization_alias or name] = _scalar_or_hash(value)
    return said


def _scalar_or_hash(value: object) -> str | Hash:
    if isinstance(value, Message):
        return _hash(value)
    return value if isinstance(value, Mapping) else str(value)
