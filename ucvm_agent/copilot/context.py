"""The messages by which an agent gets its context from a controller (docs/protocol-context.md).

want → first have → get, as Co-Pilot asks for a job (references/copilot-protocol.md, section 2), with a request id in
each message, so that a late answer is not taken for one to another question.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from ucvm_agent.copilot.stanza import Envelope, Hash

MAX_CONTEXT = 16 * 1024 * 1024
"""Most bytes of a context."""

COMMANDS = frozenset({"want_getContext", "have_getContext", "newContext", "getContext", "context", "contextPlan"})
"""All that is said about contexts."""

PART_BYTES = 30_000
"""Most bytes of a context in one message: encoded twice, they stay below the 60 kB that servers take."""

PLAN_CHARACTERS = 10_000
"""Most characters of a plan in one message; each may take four bytes."""


@dataclass(frozen=True, slots=True)
class Card:
    """What a machine says about itself when it asks.

    Arguments:
        machine_id: its UUID; empty before the first start of the daemon.
        instance_id: the last that a platform gave; may be empty.
        host: its name.
        facts: what its firmware says.
    """

    machine_id: str
    instance_id: str = ""
    host: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)

    def as_hash(self) -> Hash:
        """Return it as a part of a message."""
        return {
            "machineID": self.machine_id,
            "instanceID": self.instance_id,
            "agentHost": self.host,
            "facts": self.facts,
        }


def _decoded(text: object) -> object:
    return binascii.a2b_base64(text, strict_mode=True) if isinstance(text, str) else text


class Told(BaseModel):
    """The base of what controllers tell; attributes that we do not know are ignored."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    sequence: int = Field(ge=1, lt=2**63)
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")


class Offer(Told):
    """A controller has a context: it says so when asked (`have_getContext`), or by itself (`newContext`)."""

    command: Literal["have_getContext", "newContext"]
    request: str = ""
    dry_run: str = Field("", alias="dryRun")

    @property
    def rehearsal(self) -> bool:
        """Whether only the plan is wanted."""
        return self.dry_run == "1"


class Part(Told):
    """A piece of a context."""

    command: Literal["context"]
    request: str
    size: int = Field(ge=0, le=MAX_CONTEXT)
    offset: int = Field(ge=0)
    user_data: Annotated[bytes, BeforeValidator(_decoded)] = Field(alias="userData", max_length=MAX_CONTEXT, repr=False)


_MESSAGE: TypeAdapter[Offer | Part] = TypeAdapter(Annotated[Offer | Part, Field(discriminator="command")])


def read(envelope: Envelope) -> Offer | Part | None:
    """Return what a message says about contexts; None if it says nothing, or nothing that we understand."""
    try:
        return _MESSAGE.validate_python(envelope.info)
    except ValidationError:
        return None


def want(card: Card, request: str) -> Hash:
    """Return the question to all controllers: who has a context for this machine?"""
    return {"info": {"command": "want_getContext", "request": request, **card.as_hash()}}


def get(card: Card, request: str, offer: Offer, offset: int) -> Hash:
    """Return the request for the part of an offered context that begins at a byte."""
    asked = {"sequence": str(offer.sequence), "digest": offer.digest, "offset": str(offset)}
    return {"info": {"command": "getContext", "request": request, **asked, **card.as_hash()}}


def plan(offer: Offer, document: str, reason: str) -> Iterator[Hash]:
    """Yield the messages that answer a rehearsal.

    Arguments:
        document: the plan, as JSON.
        reason: why there is none; empty if there is.
    """
    starts = range(0, max(len(document), 1), PLAN_CHARACTERS)
    for number, start in enumerate(starts, start=1):
        piece = {"plan": document[start : start + PLAN_CHARACTERS], "reason": reason}
        place = {"part": str(number), "parts": str(len(starts))}
        told = {"sequence": str(offer.sequence), "digest": offer.digest}
        yield {"info": {"command": "contextPlan", **told, **place, **piece}}
