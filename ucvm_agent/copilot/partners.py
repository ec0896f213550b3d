"""What the post needs of others, whoever they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol
from xml.etree.ElementTree import Element

from ucvm_agent.copilot.stanza import Envelope, Hash
from ucvm_agent.errors import MessageRefused

if TYPE_CHECKING:
    from ucvm_agent.copilot.post import Post


class Wire(Protocol):
    """What the post needs of a connection."""

    def listen(self, listener: Post) -> None:
        """Tell the post what happens."""

    def send(self, message: Element) -> None:
        """Send a `<message>`; raises DeliveryDelayed while there is no connection."""


class Secure(Protocol):
    """The original's secure mode: one of its two roles (references/copilot-protocol.md, section 6)."""

    def wrap(self, envelope: Envelope) -> Envelope:
        """Encrypt what is sent; raises DeliveryError."""
        ...

    def unwrap(self, envelope: Envelope) -> Envelope:
        """Decrypt what came; raises MessageRefused."""
        ...

    def answer(self, error: MessageRefused) -> Hash | None:
        """Return what the sender is told of a message that `unwrap` has refused, if anything."""
        ...
