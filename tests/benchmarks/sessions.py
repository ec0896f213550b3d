"""Lean XMPP sessions: what a thousand agents say, from one process that leaves the processor to the controller.

TLS, SASL PLAIN and a bound resource over plain asyncio; no stream management, no roster, and of each stanza only what
the benchmark looks at.
"""

from __future__ import annotations

import asyncio
import ssl
import uuid
from base64 import b64encode
from collections.abc import Iterator
from typing import cast
from xml.etree.ElementTree import Element, XMLPullParser, tostring

from ucvm_agent.copilot.stanza import MESSAGE, Envelope, message_element, read_message

HEADER = (
    "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0' to='{domain}'>"
)
STARTTLS = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
LOGIN = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{secret}</auth>"
BIND = "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>agent</resource></bind></iq>"

CHUNK = 65_536


class Session:
    """One account that is logged in.

    Arguments:
        jid: bare JID.
    """

    def __init__(self, jid: str, password: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.jid = jid
        self._user, _, self._domain = jid.partition("@")
        self._password = password
        self._reader = reader
        self._writer = writer
        self._stanzas: list[Element] = []
        self._begin()

    def ask(self, to: str, **info: str) -> None:
        """Send a command that is answered, and need not be acknowledged."""
        envelope = Envelope(id=str(uuid.uuid4()), to=to, noack=True, content={"info": info})
        self._write(tostring(message_element(envelope), "unicode"))

    def say(self, to: str, **info: str) -> str:
        """Send a command; return the message's id."""
        envelope = Envelope(id=str(uuid.uuid4()), to=to, content={"info": info})
        self._write(tostring(message_element(envelope), "unicode"))
        return envelope.id

    async def answer(self, command: str) -> Envelope:
        """Return the next message with this command; it is acknowledged if its sender wants that."""
        while True:
            envelope = await self._message()
            if not envelope.ack and not envelope.noack:
                self._write(f"<message to='{envelope.sender}' ack='{envelope.id}'/>")
            if envelope.command == command:
                return envelope

    async def acknowledgement(self, message_id: str) -> None:
        """Return when a message is acknowledged."""
        while (await self._message()).ack != message_id:
            pass

    def close(self) -> None:
        """Say goodbye."""
        self._write("</stream:stream>")
        self._writer.close()

    async def log_in(self, context: ssl.SSLContext) -> None:
        """Negotiate all that comes before the first message."""
        await self._open()
        await self._ask(STARTTLS)
        await self._writer.start_tls(context, server_hostname=self._domain)
        await self._open()
        secret = b64encode(f"\0{self._user}\0{self._password}".encode()).decode()
        answer = await self._ask(LOGIN.format(secret=secret))
        if not answer.tag.endswith("}success"):
            raise ConnectionError(f"{self.jid} cannot log in: {tostring(answer, 'unicode')}")
        await self._open()
        await self._ask(BIND)
        self._write("<presence/>")

    async def _message(self) -> Envelope:
        while (stanza := await self._next()).tag != MESSAGE:
            pass
        if stanza.get("type") == "error":
            raise ConnectionError(f"{self.jid} got an error for an answer: {tostring(stanza, 'unicode')}")
        return read_message(stanza)

    async def _open(self) -> None:
        self._begin()
        await self._ask(HEADER.format(domain=self._domain))

    def _begin(self) -> None:
        self._parser: XMLPullParser[Element] = XMLPullParser(("start", "end"))
        self._depth = 0

    async def _ask(self, text: str) -> Element:
        self._write(text)
        return await self._next()

    def _write(self, text: str) -> None:
        self._writer.write(text.encode())

    async def _next(self) -> Element:
        while not self._stanzas:
            data = await self._reader.read(CHUNK)
            if not data:
                raise ConnectionError(f"the server has closed the stream of {self.jid}")
            self._parser.feed(data)
            for event, element in cast(Iterator[tuple[str, Element]], self._parser.read_events()):
                self._depth += 1 if event == "start" else -1
                if event == "start" and self._depth == 1:
                    self._root = element
                elif event == "end" and self._depth == 1:
                    self._stanzas.append(element)
                    self._root.remove(element)
        return self._stanzas.pop(0)


async def log_in(jid: str, password: str, host: str, port: int, context: ssl.SSLContext) -> Session:
    """Return a session that stands."""
    session = Session(jid, password, *await asyncio.open_connection(host, port))
    await session.log_in(context)
    return session
