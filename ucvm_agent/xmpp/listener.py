"""What the connection tells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element


class Listener(Protocol):
    """Who wants to know what happens on the connection; it is called on the event loop and must not block.

    Who inherits from it ignores what it does not define.
    """

    def session_started(self, *, resumed: bool) -> None:
        """The server is there; `resumed` means that it still has all that it acknowledged (XEP-0198)."""
        return

    def session_lost(self, reason: str) -> None:
        """The server is gone for now."""
        return

    def received(self, message: Element) -> None:
        """A `<message>` came in."""
        return

    def acknowledged(self, id: str) -> None:  # noqa: A002 - as the attribute is called
        """The server has taken over the stanza of this id (XEP-0198)."""
        return
