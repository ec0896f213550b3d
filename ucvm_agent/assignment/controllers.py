"""Asking the controllers for this machine's context, over a connection that others use as well.

The messages are those of `copilot/context.py`. Only what the accounts of `xmpp.controllers` say counts, and only if
it passes the `Verifier` of signatures; that the server is who it says is the connection's business.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias
from xml.etree.ElementTree import Element

import structlog

from ucvm_agent.copilot import context
from ucvm_agent.copilot.context import Card, Offer, Part
from ucvm_agent.copilot.signature import Trust, Verifier
from ucvm_agent.copilot.stanza import Envelope, Hash, message_element, read_message
from ucvm_agent.errors import DeliveryDelayed, MessageRefused, SourceError, SourceRefused, SourceUnavailable
from ucvm_agent.network.retry import TRIES, retry
from ucvm_agent.sources.asker import Assignment
from ucvm_agent.sources.machine import Machine
from ucvm_agent.xmpp.account import account_of, read_jid
from ucvm_agent.xmpp.listener import Listener

if TYPE_CHECKING:
    from ucvm_agent.settings import Xmpp
    from ucvm_agent.xmpp.client import Connection

log = structlog.get_logger()

CONNECT_SECONDS = 30.0
"""For the first attempt to connect, …"""
OFFER_SECONDS = 10.0
"""… for the first offer, …"""
PART_SECONDS = 15.0
"""… and for each part of a context."""

REHEARSALS = 8
"""Most dry runs that controllers may ask for before the first is answered."""

FACTS = ("sys_vendor", "product_name", "product_uuid", "product_serial", "board_asset_tag", "chassis_asset_tag")
"""What of the firmware's tables a controller may know a machine by."""

Answers: TypeAlias = "asyncio.Queue[tuple[str, Offer | Part]]"


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """A context whose plan a controller wants to see.

    Arguments:
        sender: its full JID.
    """

    sender: str
    offer: Offer
    assignment: Assignment


def read_card(machine_id: str, instance_id: str) -> Card:
    """Return what this machine says about itself."""
    dmi = Machine.read().dmi
    return Card(machine_id, instance_id, socket.gethostname(), {name: dmi[name] for name in FACTS if name in dmi})


class Controllers(Listener):
    """The controllers of the settings, as those who have contexts; an `Asker`.

    Arguments:
        verifier: judges what comes over this connection.
        newest: sequence number of the context that this machine has; an older one is not taken.

    Raises:
        SettingsError: a JID is none.
    """

    def __init__(
        self, connection: Connection, settings: Xmpp, card: Card, verifier: Verifier, *, newest: int = 0
    ) -> None:
        self._connection = connection
        self._verifier = verifier
        self._jids = [read_jid(jid, "xmpp.controllers") for jid in dict.fromkeys(settings.controllers)]
        self._accounts = {jid.bare for jid in self._jids}
        self._card = card
        self._newest = newest
        self._pushed = 0
        self._asked = False
        self._news = asyncio.Event()
        self._requests: dict[str, Answers] = {}
        self._rehearsals: asyncio.Queue[tuple[str, Offer]] = asyncio.Queue(REHEARSALS)
        connection.listen(self)

    async def ask(self) -> Assignment:
        """Ask all controllers, and get the context that is offered first; see `Asker.ask`."""
        return await self._ask(self._newest)

    async def look(self) -> Assignment:
        """Ask as `ask` does, for somebody who only looks: what is offered still counts as news."""
        return await self._ask(self._newest, takes=False)

    async def news(self) -> None:
        """Return when a controller tells of a newer context, or may have done so while we were away."""
        await self._news.wait()
        self._news.clear()

    async def pushes(self) -> AsyncIterator[Assignment]:
        """Yield each newer context: when a controller tells of one, or may have done so while we were away."""
        while True:
            await self.news()
            pushed = self._pushed > self._newest
            try:
                yield await retry(
                    lambda: self._ask(self._newest + 1), on=SourceUnavailable, tries=TRIES if pushed else 1
                )
            except SourceError as error:
                write = log.warning if pushed else log.debug
                write("no newer context", pushed=self._pushed or None, reason=str(error))
                self._pushed = 0

    async def rehearsals(self) -> AsyncIterator[Rehearsal]:
        """Yield each context that a controller wants to see planned, not applied."""
        while True:
            sender, offer = await self._rehearsals.get()
            try:
                with self._request() as (request, answers):
                    yield Rehearsal(sender, offer, await self._get(sender, offer, request, answers))
            except SourceError as error:
                self.answer(sender, offer, "", str(error))

    def answer(self, sender: str, offer: Offer, document: str, reason: str = "") -> None:
        """Send the plan of a rehearsal, or the reason why there is none; if it is lost, the controller asks again.

        Arguments:
            sender: who asked for it.
            document: the plan, as JSON.
        """
        try:
            for content in context.plan(offer, document, reason):
                self._send(sender, content)
        except SourceUnavailable as error:
            log.warning("a plan could not be sent", controller=sender, reason=str(error))

    # The conversation

    async def _ask(self, least: int, *, takes: bool = True) -> Assignment:
        await self._connected()
        self._asked = self._asked or takes
        with self._request() as (request, answers):
            for jid in self._jids:
                self._send(str(jid), context.want(self._card, request))
            sender, offer = await self._first_offer(answers, least)
            assignment = await self._get(sender, offer, request, answers)
        if takes:
            self._newest = assignment.sequence
        return assignment

    async def _connected(self) -> None:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._connection.tried.wait()
        except TimeoutError:
            raise SourceUnavailable("the XMPP server does not answer") from None
        if not self._connection.connected:
            raise SourceUnavailable(f"no XMPP connection: {self._connection.lost.reason}")

    async def _first_offer(self, answers: Answers, least: int) -> tuple[str, Offer]:
        reason = "no controller offers a context"
        try:
            async with asyncio.timeout(OFFER_SECONDS):
                while True:
                    sender, offer = await answers.get()
                    if not isinstance(offer, Offer):
                        continue
                    if offer.sequence >= least:
                        return sender, offer
                    reason = f"{sender} offers context {offer.sequence}, and only {least} or later counts"
        except TimeoutError:
            raise SourceUnavailable(reason) from None

    async def _get(self, sender: str, offer: Offer, request: str, answers: Answers) -> Assignment:
        content = bytearray()
        size = None
        while size is None or len(content) < size:
            self._send(sender, context.get(self._card, request, offer, len(content)))
            part = await self._part(sender, offer, len(content), answers)
            content += part.user_data
            size = part.size if size is None else size
            if part.size != size or len(content) > size or (len(content) < size and not part.user_data):
                raise SourceRefused("the parts of its context do not fit together", where=sender)
        digest = await asyncio.to_thread(lambda: hashlib.sha256(content).hexdigest())
        if digest != offer.digest:
            raise SourceRefused("the context that came has another digest than the one that was offered", where=sender)
        return Assignment(account_of(sender), bytes(content), offer.sequence)

    async def _part(self, sender: str, offer: Offer, offset: int, answers: Answers) -> Part:
        try:
            async with asyncio.timeout(PART_SECONDS):
                while True:
                    answerer, part = await answers.get()
                    awaited = (sender, offset, offer.sequence, offer.digest)
                    if isinstance(part, Part) and (answerer, part.offset, part.sequence, part.digest) == awaited:
                        return part
        except TimeoutError:
            raise SourceUnavailable(f"the context broke off after {offset} bytes", where=sender) from None

    @contextmanager
    def _request(self) -> Iterator[tuple[str, Answers]]:
        request = str(uuid.uuid4())
        # Whoever floods us has his messages dropped.
        answers: Answers = asyncio.Queue(len(self._jids) + 8)
        self._requests[request] = answers
        try:
            yield request, answers
        finally:
            del self._requests[request]

    def _send(self, to: str, content: Hash) -> None:
        try:
            # Each message is answered, or asked once more; so no acknowledgements.
            envelope = Envelope(id=str(uuid.uuid4()), to=to, noack=True, content=content)
            self._connection.send(message_element(envelope))
        except DeliveryDelayed as error:
            raise SourceUnavailable(error.message) from None

    # What the connection tells

    def session_started(self, *, resumed: bool) -> None:
        """See whether a context was pushed while we were away."""
        if self._asked and not resumed:
            self._news.set()

    def received(self, message: Element) -> None:
        """Take what a controller says about contexts, and acknowledge it."""
        envelope = read_message(message)
        if message.get("type") == "error" or (told := context.read(envelope)) is None:
            return
        if account_of(envelope.sender) not in self._accounts:
            log.warning("a stranger sends a context", sender=envelope.sender)
            return
        try:
            trust = self._verifier.check(message)
        except MessageRefused as error:
            log.warning("a message about contexts is refused", sender=envelope.sender, reason=str(error))
            return
        if envelope.id and not envelope.noack:
            self._acknowledge(envelope)
        if trust is not Trust.REPEATED:
            self._take(envelope.sender, told)

    def _take(self, sender: str, told: Offer | Part) -> None:
        if isinstance(told, Part) or told.command == "have_getContext":
            if (answers := self._requests.get(told.request)) and not answers.full():
                answers.put_nowait((sender, told))
        elif told.rehearsal:
            if not self._rehearsals.full():
                self._rehearsals.put_nowait((sender, told))
        elif told.sequence > self._newest:
            self._pushed = max(self._pushed, told.sequence)
            self._news.set()

    def _acknowledge(self, envelope: Envelope) -> None:
        try:
            self._connection.send(message_element(Envelope(to=envelope.sender, ack=envelope.id)))
        except DeliveryDelayed as error:
            log.debug("a message was not acknowledged", reason=error.message)
