"""The error that comes back when a message could not be delivered (RFC 6120, section 8.3)."""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree.ElementTree import Element

from ucvm_agent.copilot.stanza import CLIENT_NAMESPACE

CONDITIONS_NAMESPACE = "urn:ietf:params:xml:ns:xmpp-stanzas"
ERROR = f"{{{CLIENT_NAMESPACE}}}error"
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
