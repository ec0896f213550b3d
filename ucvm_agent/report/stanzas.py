"""The stanzas of reporting, as functions of `xml.etree` elements: our event, receipts.

Our event is one element beside the Co-Pilot body, with the event as JSON in it; docs/protocol-events.md is for
those who read it.
"""

from __future__ import annotations

import json
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
