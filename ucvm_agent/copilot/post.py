"""The post: what the original's "container" does between the connection and who acts on the commands.

It acknowledges, drops repetitions, sends again what has to arrive, and logs and drops what is wrong
(references/copilot-protocol.md, sections 1.4 to 1.6). It knows commands and accounts, but not what a job is.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import TypeVar
from xml.etree.ElementTree import Element, fromstring, tostring

import structlog

from ucvm_agent.copilot import context, messages
from ucvm_agent.copilot.complaints import Complaints
from ucvm_agent.copilot.messages import AnyMessage, Message
from ucvm_agent.copilot.partners import Secure, Wire
from ucvm_agent.copilot.resending import Resending
from ucvm_agent.copilot.routes import Route, Routes
from ucvm_agent.copilot.seen import Seen
from ucvm_agent.copilot.signature import Signer, Trust, Verifier
from ucvm_agent.copilot.stanza import Envelope, Hash, bare, message_element, read_delay, read_message
from ucvm_agent.copilot.stanza_error import read_error
from ucvm_agent.errors import DeliveryDelayed, DeliveryRefused, MessageRefused, StoreError
from ucvm_agent.store.letters import Letter, LetterQueue

log = structlog.get_logger()

MAX_BYTES = 60_000
"""Largest message: a server ends the stream over a larger one (the strictest in use takes 65,536 bytes)."""

SECURE_GROWTH = 3
"""How much longer a message may become that is encrypted: three times base64, and its key."""

MAX_ID = 128
"""Longest id, in characters, that is remembered; a UUID has 36."""

STALE_SECONDS = 60.0
"""A command that a server has held back for longer is no longer waited for (section 3.2: the wait for `runJob`)."""

_RECEIPTS = ("{urn:xmpp:receipts}request", "{urn:xmpp:receipts}received")

M = TypeVar("M", bound=Message)


class Post:
    """The commands of one connection; a `Listener` of it.

    What requests a receipt (XEP-0184), and what is said about contexts, is left to the other listeners.

    Arguments:
        connection: whose messages these are; it may have other listeners.
        accepts: whether the commands of an account (a bare JID) count.
        signer: signs all that is sent.
        verifier: refuses what is not authentic.
        secure: encrypts all that is sent and expects the same; old, off by default.
        letters: where messages are kept that have to arrive.
        clock: epoch seconds.
    """

    def __init__(
        self,
        connection: Wire,
        *,
        accepts: Callable[[str], bool],
        signer: Signer | None = None,
        verifier: Verifier | None = None,
        secure: Secure | None = None,
        letters: LetterQueue | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._connection = connection
        self._routes = Routes(accepts)
        self._signer = signer
        self._verifier = verifier
        self._secure = secure
        self._clock = clock
        self._resending = None if letters is None else Resending(letters, self._transmit, clock)
        self._seen = Seen()
        self._complaints = Complaints()
        connection.listen(self)

    def on(
        self, kind: type[M], handler: Callable[[str, M, Envelope], None], *, late: bool = False, account: str = ""
    ) -> None:
        """Have a handler act on all messages of a kind.

        Arguments:
            handler: called with the sender (a full JID), the message and its envelope, on the loop; must not block.
            late: the message is not acknowledged before the handler, but by it: with `acknowledge`, once nothing can
                make it forget the message. Until then a repetition comes to the handler as well.
            account: the only one (a bare JID) that may say this; its other commands do not count for that.
        """
        self._routes.add(kind, Route(handler, late, account))

    def admit(self, account: str, *kinds: type[Message]) -> None:
        """Let whoever speaks through an account, such as the occupants of a chat room, send these kinds of messages.

        They need not sign them, and a repetition is answered again. What is said to the room as a whole is not for us.
        """
        self._routes.admit(account, *kinds)

    def send(self, to: str, message: AnyMessage, *, keep: bool = False, noack: bool = False) -> str:
        """Send a message and return its id.

        Arguments:
            to: JID.
            keep: send it until the account acknowledges it, over restarts, for a day. Then this may be called in any
                thread, within the transaction of what it tells of, and the message goes out when that is committed.
            noack: decline the acknowledgement.

        Raises:
            DeliveryDelayed: there is no connection, and it is not kept; DeliveryRefused: it is too large;
            StoreError: it cannot be kept.
        """
        return self.forward(to, messages.content(message), keep=keep, noack=noack)

    def forward(self, to: str, content: Hash, *, keep: bool = False, noack: bool = False) -> str:
        """Send a content as it is, as a redirection demands; see `send`."""
        if keep and (noack or self._resending is None):
            raise ValueError("only what is acknowledged can be kept, and only where there are letters")
        envelope = Envelope(id=str(uuid.uuid4()), to=to, noack=noack, content=content)
        stanza = tostring(message_element(envelope), "unicode")
        if len(stanza.encode()) > (MAX_BYTES if self._secure is None else MAX_BYTES // SECURE_GROWTH):
            raise DeliveryRefused(f"{envelope.command} has {len(stanza)} characters, too many for a message")
        if keep and self._resending is not None:
            self._resending.put(Letter(envelope.id, to, envelope.command, stanza, self._clock()))
        else:
            self._post(envelope)
        return envelope.id

    def retry(self) -> None:
        """Send what is kept and could not be sent for another reason than the connection."""
        if self._resending is not None:
            self._resending.session_started(resumed=True)

    def acknowledge(self, envelope: Envelope) -> None:
        """Acknowledge a message (of a late handler): from now on its repetitions are dropped.

        Raises:
            MessageRefused: that cannot be remembered, so it is not acknowledged, and will come again.
        """
        account = bare(envelope.sender)
        if self._verifier is not None:
            try:
                self._verifier.remember(account, envelope.id)
            except StoreError as error:
                raise MessageRefused(f"it cannot be remembered: {error}", where=account) from error
        if not self._routes.hosts(account):  # who could make us forget what others have sent
            self._seen.add(account, envelope.id)
        if envelope.noack:
            return
        try:
            self._post(Envelope(to=envelope.sender, ack=envelope.id))
        except DeliveryDelayed as error:
            log.debug("a message was not acknowledged", to=envelope.sender, reason=error.message)

    async def run(self) -> None:
        """Send again what was not acknowledged, until cancelled."""
        if self._resending is None:
            await asyncio.get_running_loop().create_future()
        else:
            await self._resending.run()

    # What the connection tells

    def session_started(self, *, resumed: bool) -> None:
        """Send what is kept again, unless the session goes on that has it."""
        if self._resending is not None:
            self._resending.session_started(resumed=resumed)

    def session_lost(self, reason: str) -> None:
        """Send nothing for now."""
        if self._resending is not None:
            self._resending.session_lost()

    def acknowledged(self, id: str) -> None:  # noqa: A002 - as the attribute is called
        """Nothing to do: that the server has a message does not mean that its receiver has it."""

    def received(self, message: Element) -> None:
        """Take a message: error, acknowledgement or command, in this order (section 1.4)."""
        envelope = read_message(message)
        account = bare(envelope.sender)
        if message.get("type") == "error":
            self._complaints.write("a peer cannot be told", account, id=envelope.id, error=str(read_error(message)))
        elif envelope.ack:
            if self._resending is not None:
                self._resending.acknowledged(envelope.ack, account)
        elif "info" in envelope.content and not _elsewhere(message, envelope):
            self._take(message, envelope, account)

    def _take(self, message: Element, envelope: Envelope, account: str) -> None:
        if not envelope.id or len(envelope.id) > MAX_ID:
            self._complaints.write("a message without a sound id is dropped", account)
        elif not self._routes.may_speak(message, envelope):
            self._complaints.write("a stranger's message is dropped", account, sender=envelope.sender)
        elif (account, envelope.id) in self._seen:
            self.acknowledge(envelope)
        else:
            try:
                self._act(message, envelope)
            except MessageRefused as error:
                self._complaints.write("a message is dropped", account, id=envelope.id, reason=str(error))

    def _act(self, message: Element, envelope: Envelope) -> None:
        """Act on a message that is new. It is acknowledged whether or not its command is known or sound."""
        guest = self._routes.is_guests(message, envelope)
        verifier = None if guest else self._verifier
        if verifier is not None and verifier.check(message, remember=False) is Trust.REPEATED:
            self.acknowledge(envelope)
            return
        if self._secure is not None:
            envelope = self._decrypt(envelope, self._secure)
        if envelope.info is None:
            raise MessageRefused("its info is no element")
        try:
            told = messages.read(envelope)
        except MessageRefused:
            self.acknowledge(envelope)
            raise
        route = self._routes.find(told) if told is not None else None
        if route is not None and not (guest or self._routes.is_open(route, bare(envelope.sender))):
            raise MessageRefused(f"{envelope.command} is not for it to say")
        stale = self._stale(message, told)
        if route is None or stale or not route.late:
            self.acknowledge(envelope)
        if route is None:
            log.debug("nobody here acts on a command", sender=envelope.sender, id=envelope.id)
        elif stale:
            log.info("a command came too late", sender=envelope.sender, id=envelope.id)
        else:
            route.handler(envelope.sender, told, envelope)

    def _decrypt(self, envelope: Envelope, secure: Secure) -> Envelope:
        """Decrypt a message; a provider tells its sender why that cannot be done."""
        try:
            return secure.unwrap(envelope)
        except MessageRefused as error:
            if (answer := secure.answer(error)) is not None:
                with suppress(DeliveryDelayed, DeliveryRefused):
                    self.forward(envelope.sender, answer, noack=True)
            raise

    def _stale(self, message: Element, told: AnyMessage | None) -> bool:
        written = read_delay(message)
        if written is None or isinstance(told, messages.LASTING):
            return False
        return self._clock() - written.timestamp() > STALE_SECONDS

    # What goes out

    def _transmit(self, letter: Letter) -> None:
        envelope = read_message(fromstring(letter.stanza))  # noqa: S314 - we wrote it
        if letter.trial and self._secure is None:
            # Whoever it was sent to may be gone, and another one of the account have taken over.
            envelope = replace(envelope, to=bare(letter.recipient))
        try:
            self._post(envelope)
        except DeliveryRefused as error:  # a consumer that has said nothing since our start: it may later on
            log.info("a message cannot be encrypted yet", to=letter.recipient, id=letter.id, reason=error.message)

    def _post(self, envelope: Envelope) -> None:
        """Send a message.

        It is encrypted and signed anew each time: keys last as long as a process, and a signature tells when.
        """
        element = message_element(self._secure.wrap(envelope) if self._secure else envelope)
        if self._signer is not None and element.get("id"):
            self._signer.sign(element)
        self._connection.send(element)


def _elsewhere(message: Element, envelope: Envelope) -> bool:
    """Whether another listener of the connection acts on a message, and confirms it when it has it."""
    return envelope.command in context.COMMANDS or any(message.find(tag) is not None for tag in _RECEIPTS)
