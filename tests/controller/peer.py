"""The other ends of a controller in tests: an account with a connection that says and hears anything."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar
from xml.etree.ElementTree import Element

from tests.servers.prosody import Prosody
from tests.xmpp.ear import Ear
from ucvm_agent.copilot import messages
from ucvm_agent.copilot.messages import AnyMessage, Message
from ucvm_agent.copilot.stanza import Envelope, Hash, message_element, read_message
from ucvm_agent.errors import DeliveryDelayed
from ucvm_agent.network.retry import waits
from ucvm_agent.settings import Xmpp
from ucvm_agent.xmpp.client import Connection
from ucvm_agent.xmpp.listener import Listener

M = TypeVar("M", bound=Message)

PATIENCE = 20.0
"""Seconds that a test waits for an answer."""


class Peer(Listener):
    """An account of a VM.

    Attributes:
        messages: what came and was no acknowledgement, in order.
        acks: ids of ours that were acknowledged.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.messages: asyncio.Queue[Envelope] = asyncio.Queue()
        self.acks: asyncio.Queue[str] = asyncio.Queue()
        self.elements: asyncio.Queue[Element] = asyncio.Queue()
        connection.listen(self)

    def received(self, message: Element) -> None:
        """Sort what comes, and acknowledge commands as an original agent does."""
        envelope = read_message(message)
        if envelope.ack:
            self.acks.put_nowait(envelope.ack)
        elif envelope.info is not None and message.get("type") != "error":
            if not envelope.noack:
                with suppress(DeliveryDelayed):
                    self.connection.send(message_element(Envelope(to=envelope.sender, ack=envelope.id)))
            self.messages.put_nowait(envelope)
        else:
            self.elements.put_nowait(message)

    def say(self, to: str, message: AnyMessage, *, id: str = "") -> str:  # noqa: A002 - as the attribute is called
        """Send a command; return the message's id."""
        return self.tell(to, messages.content(message), id=id)

    def tell(self, to: str, content: Hash, *, id: str = "", noack: bool = False) -> str:  # noqa: A002 - as above
        """Send any content; return the message's id."""
        envelope = Envelope(id=id or str(uuid.uuid4()), to=to, content=content, noack=noack)
        self.connection.send(message_element(envelope))
        return envelope.id

    async def hear(self, kind: type[M]) -> tuple[M, str]:
        """Return the next message, which has to be of this kind, and its sender."""
        envelope = await self.next()
        message = messages.read(envelope)
        assert isinstance(message, kind), f"{message!r} instead of {kind.__name__}"
        return message, envelope.sender

    async def next(self) -> Envelope:
        """Return the next message."""
        async with asyncio.timeout(PATIENCE):
            return await self.messages.get()

    async def confirmed(self, id: str) -> None:  # noqa: A002 - as the attribute is called
        """Return when a message of ours is acknowledged."""
        async with asyncio.timeout(PATIENCE):
            while await self.acks.get() != id:
                pass


def account(server: Prosody, user: str, **more: Any) -> dict[str, Any]:
    """Return the section `[xmpp]` of an account."""
    section = {"jid": server.jid(user), "password": "pw", "host": server.host, "port": server.port}
    return section | {"ca_file": server.ca_file} | more


@asynccontextmanager
async def peer(server: Prosody, user: str, machine_id: str = "0123456789") -> AsyncIterator[Peer]:
    """Log in, and out again."""
    settings = Xmpp.model_validate(account(server, user, controllers=(server.jid("jm"),)))
    connection, ear = Connection(settings, machine_id, controllers=settings.controllers, away=waits(0.05, 0.2)), Ear()
    made = Peer(connection)
    connection.listen(ear)
    task = asyncio.create_task(connection.run())
    try:
        await ear.next("started")
        yield made
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
