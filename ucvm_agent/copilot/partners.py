"""What the post needs of others, whoever they are."""

from __future__ import annotations

from enum import Enum
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


class Signer(Protocol):
    """Signs what is sent."""

    def sign(self, message: Element) -> None:
        """Add a signature beside the body."""


class Verifier(Protocol):
    """Knows whose orders are authentic."""

    def check(self, message: Element, *, remember: bool) -> Enum:
        """Say how far a message is to be trusted: `REPEATED` if it is authentic, but was obeyed before a restart.

        Raises:
            MessageRefused: it is not signed as those of its account have to be.
        """
        ...

    def remember(self, account: str, message_id: str) -> None:
        """Note that a message that was checked is obeyed; raises StoreError."""


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
