"""A connection that keeps what is sent, for tests of what stands on one."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, fromstring, tostring

from ucvm_agent.copilot.stanza import Envelope, Hash, message_element, read_message
from ucvm_agent.errors import DeliveryDelayed

if TYPE_CHECKING:
    from ucvm_agent.copilot.post import Post

JM = "jm@site.example/alpha"
AGENT = "agent@site.example/r1"


class Line:
    """Both ends of a connection.

    Attributes:
        sent: what went out, as XML.
        online: whether anything can.
    """

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.online = True
        self._post: Post | None = None

    def listen(self, listener: Post) -> None:
        self._post = listener

    def send(self, message: Element) -> None:
        if not self.online:
            raise DeliveryDelayed("no XMPP connection")
        self.sent.append(tostring(message, "unicode"))

    def deliver(self, message: Element) -> None:
        """Have a `<message>` come in."""
        assert self._post is not None
        self._post.received(message)

    def tell(self, info: Hash, *, sender: str = JM, id: str = "i1", noack: bool = False) -> None:  # noqa: A002 - as the attribute is called
        """Have a command come in."""
        envelope = Envelope(id=id, to=AGENT, sender=sender, noack=noack, content={"info": info})
        self.deliver(message_element(envelope))

    def acknowledge(self, id: str, sender: str = JM) -> None:  # noqa: A002 - as the attribute is called
        """Have an acknowledgement come in."""
        self.deliver(message_element(Envelope(to=AGENT, sender=sender, ack=id)))

    def take(self) -> list[Envelope]:
        """Return what went out since the last time."""
        sent, self.sent = self.sent, []
        return [read_message(fromstring(stanza)) for stanza in sent]

    def acks(self) -> list[tuple[str, str]]:
        """Return to whom which ids were acknowledged since the last time."""
        return [(envelope.to, envelope.ack) for envelope in self.take()]
