"""A controller that is told over XMPP: one message an event, confirmed by its receiver."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element, tostring

from ucvm_agent.copilot.stanza_error import StanzaError, read_error
from ucvm_agent.errors import DeliveryDelayed, DeliveryError, DeliveryRefused, NotConnected
from ucvm_agent.events import Event
from ucvm_agent.report.base import Reporter
from ucvm_agent.report.stanzas import confirmed, event_message
from ucvm_agent.xmpp.account import account_of, read_jid
from ucvm_agent.xmpp.client import Connection
from ucvm_agent.xmpp.listener import Listener

ANSWER_SECONDS = 30.0
"""How long one `send` waits for the receipt; a later one is still taken."""

REPEAT_SECONDS = 600.0
"""A message without a receipt is repeated after this time and then after twice as long each, …"""

REPEAT_LIMIT_SECONDS = 3600.0
"""… up to this: the server may well hold the first one for a controller that is away."""

MESSAGE_BYTES = 60_000
"""Largest message: a server ends the stream over a larger one (the strictest in use takes 65,536 bytes)."""


@dataclass(slots=True)
class Letter:
    """The event that is under way: how often it was sent, and what came back.

    Arguments:
        due: monotonic time from which on it may be sent (again).
        repeat: seconds until it is then due once more.
        accepted: the server has taken it over (XEP-0198).
        delivered: the controller has it; or the server, where that is enough.
        error: why it did not get there.
        news: set when one of these changes.
    """

    id: str
    due: float = 0.0
    repeat: float = REPEAT_SECONDS
    accepted: bool = False
    delivered: bool = False
    error: DeliveryError | None = None
    news: asyncio.Event = field(default_factory=asyncio.Event)


class XmppReporter(Reporter, Listener):
    """One controller on an XMPP network.

    Arguments:
        connection: shared with the other controllers.
        controller: JID; receipts count only if they come from its account.
        receipts: False takes an event for delivered when our server has it.
        clock: monotonic time in seconds.

    Raises:
        SettingsError: `controller` is no JID.
    """

    def __init__(
        self, connection: Connection, controller: str, *, receipts: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(f"xmpp:{controller}")
        self._controller = read_jid(controller, "xmpp.controllers")
        self._connection = connection
        self._receipts = receipts
        self._clock = clock
        self._letter = Letter("")
        connection.listen(self)

    async def send(self, event: Event) -> None:
        """Send the event unless it is under way already, and wait for its confirmation.

        Raises:
            DeliveryDelayed: no connection, no confirmation yet, or an error that may pass.
            DeliveryRefused: the controller asks for another content, which it will never get.
        """
        if self._letter.id != event.id:
            self._letter = Letter(event.id)
        letter = self._letter
        if not letter.delivered:
            await self._connection.tried.wait()
            letter.news.clear()
            letter.error = None
            self._post(letter, event)
            with suppress(TimeoutError):
                async with asyncio.timeout(ANSWER_SECONDS):
                    await letter.news.wait()
        if letter.error is not None:
            raise letter.error
        if not letter.delivered:
            raise DeliveryDelayed(f"sent, but {self._controller} has not confirmed it yet")

    def _post(self, letter: Letter, event: Event) -> None:
        connection = self._connection
        if not connection.connected:
            raise NotConnected(f"no XMPP connection: {connection.lost.reason}")
        if not self._receipts and not connection.acknowledges:
            raise DeliveryDelayed("the XMPP server acknowledges nothing", hint="set xmpp.receipts = true")
        if self._clock() < letter.due:
            return
        message = event_message(event, str(self._controller), receipt=self._receipts)
        size = len(tostring(message))
        if size > MESSAGE_BYTES:
            raise DeliveryRefused(f"the event has {size} bytes, too many for a message")
        connection.send(message)
        letter.accepted = False
        letter.due = self._clock() + letter.repeat
        letter.repeat = min(2 * letter.repeat, REPEAT_LIMIT_SECONDS)

    # What the connection tells

    def session_started(self, *, resumed: bool) -> None:
        """Send the event under way again, unless the session that has it goes on."""
        letter = self._letter
        kept = resumed and (letter.accepted or self._connection.sent(letter.id))
        if not kept:
            letter.due = 0.0
        self.again.set()

    def session_lost(self, reason: str) -> None:
        """Wait no longer; an answer may still come after a resumption."""
        if not self._letter.delivered:
            self._letter.error = NotConnected(f"no XMPP connection: {reason}")
            self._letter.news.set()

    def received(self, message: Element) -> None:
        """Take a confirmation or an error for the event under way, if it is from the controller's account."""
        letter = self._letter
        if not letter.id or account_of(message.get("from", "")) != self._controller.bare:
            return
        if self._receipts and confirmed(message) == letter.id:
            self._settle()
            return
        error = read_error(message)
        if error is not None and message.get("id") == letter.id and not letter.delivered:
            letter.error = _judge(error, str(self._controller))
            letter.due = 0.0
            letter.news.set()

    def acknowledged(self, id: str) -> None:  # noqa: A002 - as the attribute is called
        """The server has the message of this id."""
        if id and id == self._letter.id:
            self._letter.accepted = True
            if not self._receipts:
                self._settle()

    def _settle(self) -> None:
        self._letter.delivered = True
        self._letter.error = None
        self._letter.news.set()
        self.again.set()


def _judge(error: StanzaError, controller: str) -> DeliveryError:
    """Return what an error means for the event.

    `modify` asks for other content (RFC 6120, section 8.3.2), and an event never changes: refused. All else
    is about the address, rights or the moment, which somebody can mend: delayed, so that nothing is lost.
    """
    if error.kind == "modify" and error.condition != "jid-malformed":
        return DeliveryRefused(f"{controller} refused it: {error}")
    return DeliveryDelayed(f"{controller} cannot be reached: {error}")
