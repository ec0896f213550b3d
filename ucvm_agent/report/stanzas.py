"""The stanzas of reporting, as functions of `xml.etree` elements: our event, receipts, errors.

Our event is one element beside the Co-Pilot body, with the event as JSON in it; docs/protocol-events.md is for
those who read it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement

from pydantic import ValidationError

from ucvm_agent.copilot.events import report
from ucvm_agent.copilot.stanza import Envelope, message_element
from ucvm_agent.events import Event

EVENT_NAMESPACE = "urn:ucvm-agent:event:1"
EVENT = f"{{{EVENT_NAMESPACE}}}event"
RECEIPTS_NAMESPACE = "urn:xmpp:receipts"
REQUEST = f"{{{RECEIPTS_NAMESPACE}}}request"
RECEIVED = f"{{{RECEIPTS_NAMESPACE}}}received"
CONDITIONS_NAMESPACE = "urn:ietf:params:xml:ns:xmpp-stanzas"
ERROR = "{jabber:client}error"
TEXT = f"{{{CONDITIONS_NAMESPACE}}}text"


@dataclass(frozen=True, slots=True)
class StanzaError:
    """The error in a message of type `error` (RFC 6120, section 8.3).

    Arguments:
        kind: `auth`, `cancel`, `continue`, `modify` or `wait`.
        condition: the defined condition, `service-unavailable`.
        text: what the other side says about it; may be empty.
    """

    kind: str
    condition: str
    text: str = ""

    def __str__(self) -> str:
        return f"{self.condition}: {self.text}" if self.text else self.condition


def event_message(event: Event, to: str, *, receipt: bool) -> Element:
    """Return the message that reports an event: for a Co-Pilot monitor and for a controller of ours.

    Arguments:
        to: JID of the controller.
        receipt: whether the controller is to confirm it; otherwise Co-Pilot's acknowledgement is declined, too.
    """
    message = message_element(Envelope(id=event.id, to=to, noack=not receipt, content=report(event)))
    payload = SubElement(message, EVENT, {"id": event.id})
    # ASCII, for a reason may hold characters that XML forbids, and one of them would end the whole stream.
    payload.text = json.dumps(event.model_dump(mode="json"), ensure_ascii=True, separators=(",", ":"))
    if receipt:
        SubElement(message, REQUEST)
    return message


def read_event(message: Element) -> Event | None:
    """Return the event in a message, or None if there is none that we understand."""
    payload = message.find(EVENT)
    if payload is None:
        return None
    try:
        return Event.model_validate_json(payload.text or "")
    except ValidationError:
        return None


def receipt_message(to: str, id: str) -> Element:  # noqa: A002 - as the attribute is called
    """Return the receipt for the message of this id (XEP-0184)."""
    message = Element("{jabber:client}message", {"to": to})
    SubElement(message, RECEIVED, {"id": id})
    return message


def confirmed(message: Element) -> str:
    """Return the id that a message confirms, by a receipt or by a Co-Pilot acknowledgement; empty if none."""
    if message.get("type") == "error":
        return ""
    received = message.find(RECEIVED)
    return message.get("ack", "") if received is None else received.get("id", "")


def read_error(message: Element) -> StanzaError | None:
    """Return the error that a message of type `error` tells of; its `id` is that of the message which failed."""
    if message.get("type") != "error":
        return None
    error = message.find(ERROR)
    if error is None:
        return StanzaError("cancel", "undefined-condition")
    conditions = [child.tag for child in error if child.tag.startswith(f"{{{CONDITIONS_NAMESPACE}}}")]
    condition = next((tag.rpartition("}")[2] for tag in conditions if tag != TEXT), "undefined-condition")
    return StanzaError(error.get("type", "cancel"), condition, (error.findtext(TEXT) or "").strip()[:200])
