"""The connection to the site's XMPP server, kept for ever."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias
from xml.etree.ElementTree import Element

import structlog
from slixmpp.stanza import Message
from slixmpp.xmlstream import StanzaBase
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath
from tenacity import AsyncRetrying, RetryCallState, retry_if_result, wait_random
from tenacity.wait import wait_base

from ucvm_agent.errors import NotConnected
from ucvm_agent.network.retry import AWAY
from ucvm_agent.settings import XmppAccount
from ucvm_agent.xmpp.account import explain, full_jid, read_password, tls_context
from ucvm_agent.xmpp.listener import Listener
from ucvm_agent.xmpp.presence import Presence
from ucvm_agent.xmpp.stream import Failure, Stream

log = structlog.get_logger()

NEGOTIATION_SECONDS = 30.0
"""Until a session stands, from the first packet on: address, TLS, login, binding."""

CLOSE_SECONDS = 2.0
"""How long an orderly end may take."""

LASTING = wait_random(30.0, 60.0)
"""The least wait, in seconds, after a failure that a person has to mend: wrong password, wrong certificate."""


Extension: TypeAlias = Callable[[Stream], None]
"""Registers plug-ins of slixmpp and their handlers with the stream, which outlives each session."""


class Connection:
    """One account on one server.

    Arguments:
        settings: `[xmpp]`.
        machine_id: makes the resource, so that a restarted agent takes over its old session.
        controllers: JIDs of those who may see whether it is there.
        away: waiting times while the server is away.
        present: False shows nobody that it is there, and leaves what is sent to the account to other connections.

    Raises:
        SettingsError: a JID is none.

    Attributes:
        lost: why there is no connection, or was none before this one.
        tried: set once the first attempt has succeeded or failed.
        presence: how we show ourselves, and who else is there.
    """

    def __init__(
        self,
        settings: XmppAccount,
        machine_id: str,
        *,
        controllers: Iterable[str] = (),
        away: wait_base = AWAY,
        present: bool = True,
    ) -> None:
        self.connected = False
        self.lost = Failure("not connected yet")
        self.tried = asyncio.Event()
        self._jid = full_jid(settings.jid, machine_id)
        self.presence = Presence(controllers, shown=present)
        self._settings = settings
        self._away = away
        self._told = ""
        self._listeners: list[Listener] = []
        self._extensions: list[Extension] = []
        self._stream: Stream | None = None
        self._failure: Failure | None = None
        self._started: asyncio.Future[None] | None = None
        self._ended: asyncio.Future[None] | None = None

    @property
    def jid(self) -> str:
        """The full JID that it logs in as."""
        return str(self._jid)

    def listen(self, listener: Listener) -> None:
        """Tell a listener of all that happens from now on."""
        self._listeners.append(listener)

    def extend(self, extension: Extension) -> None:
        """Have something registered with slixmpp, once, before any connection is made, or at once if it is too late."""
        self._extensions.append(extension)
        if self._stream is not None:
            extension(self._stream)

    def send(self, message: Element) -> None:
        """Send a `<message>`; `Listener.acknowledged` tells when the server has it.

        Raises:
            NotConnected: says why.
        """
        stream = self._stream
        if stream is None or not self.connected:
            raise NotConnected(f"no XMPP connection: {self.lost.reason}")
        stanza: StanzaBase = Message(stream, message)  # type: ignore[no-untyped-call]  # as slixmpp leaves it
        stream.send(stanza)
        stream.request_acknowledgement()

    @property
    def acknowledges(self) -> bool:
        """Whether the server acknowledges what is sent to it."""
        return self.connected and self._stream is not None and self._stream.managed

    def sent(self, id: str) -> bool:  # noqa: A002 - as the attribute is called
        """Whether the stanza of this id is under way to the server; a resumed stream sends such by itself."""
        if self._stream is None:
            return False
        return any(stanza["id"] == id for _, stanza in self._stream.plugin["xep_0198"].unacked_queue)

    async def run(self) -> None:
        """Connect, and connect again, until cancelled; then say goodbye within two seconds."""
        if not self._settings.verify:
            log.warning("xmpp certificate is not verified", setting="xmpp.verify")
        self._stream = stream = self._make_stream()
        try:
            await AsyncRetrying(retry=retry_if_result(lambda _: True), wait=self._wait)(self._hold, stream)
        finally:
            await self._close(stream)

    def _wait(self, state: RetryCallState) -> float:
        """Return the seconds until the next try, and log why there is one."""
        if self._started and self._started.done():
            state.attempt_number = 1  # there was a session
        wait = max(self._away(state), LASTING(state) if self.lost.lasting else 0.0)
        # The same reason every few minutes for hours is worth one line.
        write = log.debug if self.lost.reason == self._told else log.warning
        write("xmpp not connected", reason=self.lost.reason, retry_seconds=round(wait, 1))
        self._told = self.lost.reason
        return wait

    async def _hold(self, stream: Stream) -> None:
        """Make one connection and return when it has ended; `lost` tells why."""
        loop = asyncio.get_running_loop()
        self._failure = None
        self._started = started = loop.create_future()
        self._ended = ended = loop.create_future()
        what = "password"
        try:
            stream.password = await asyncio.to_thread(read_password, self._settings)
            what = "certificates"
            stream.ssl_context = await asyncio.to_thread(tls_context, self._settings)
        except (OSError, ValueError) as error:
            self._end(Failure(f"cannot read the {what} of [xmpp]: {explain(error)}", lasting=True))
            return
        if self._settings.host:
            stream.connect(self._settings.host, self._settings.port)
        else:
            stream.default_port = self._settings.port
            stream.connect()  # where the domain's SRV records say
        await asyncio.wait({started, ended}, timeout=NEGOTIATION_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if not started.done():
            self._end(self._failure or Failure(f"no session within {NEGOTIATION_SECONDS:.0f} s"))
        await ended
        stream.cancel_connection_attempt()
        stream.abort()

    async def _close(self, stream: Stream) -> None:
        try:
            if self.connected:
                stream.send_presence(ptype="unavailable")
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(CLOSE_SECONDS):
                        await stream.disconnect(wait=CLOSE_SECONDS)
        finally:
            self._end(Failure("the agent stops"))
            stream.release()

    def _make_stream(self) -> Stream:
        stream = Stream(self.jid, self._end)
        stream.register_handler(
            Callback("messages", MatchXPath("{jabber:client}message"), self._on_message, instream=True)
        )
        handlers = {
            # Not session_start: that comes before the server has agreed to acknowledge stanzas.
            "stream_negotiated": lambda _: self._on_negotiated(stream),
            "session_resumed": lambda _: self._on_session(stream, resumed=True),
            "connection_failed": self._on_refused,
            # slixmpp is about to wait before it goes through the addresses again, which is for us to decide.
            "reconnect_delay": lambda _: self._end(self._failure or Failure("cannot connect")),
            "ssl_invalid_chain": self._on_disconnected,
            "failed_auth": self._on_bad_login,
            "failed_all_auth": lambda _: self._on_no_login_left(),
            "no_auth": lambda _: self._end(Failure("the server offers no login that is safe", lasting=True)),
            "disconnected": self._on_disconnected,
            "stanza_acked": self._on_acknowledged,
        }
        for name, handler in handlers.items():
            stream.add_event_handler(name, handler)
        self.presence.install(stream)
        for extension in self._extensions:
            extension(stream)
        return stream

    def _on_negotiated(self, stream: Stream) -> None:
        if stream.authenticated and "bind" in stream.features:
            self._on_session(stream, resumed=False)
        else:
            stream.fail("the server offers no login or no session", lasting=True)

    def _on_session(self, stream: Stream, *, resumed: bool) -> None:
        if self._started is None or self._started.done():
            return
        self._started.set_result(None)
        self._told = ""
        self.connected = True
        self.tried.set()
        log.info("xmpp connected", jid=self.jid, resumed=resumed)
        self.presence.session_started(stream)
        # For what a resumed stream has just sent once more.
        stream.request_acknowledgement()
        for listener in self._listeners:
            listener.session_started(resumed=resumed)

    def _on_refused(self, error: object) -> None:
        if isinstance(error, OSError):
            self._failure = Failure(f"cannot connect: {explain(error)}")
        else:  # slixmpp names the domain, whatever it looked up
            name = self._settings.host or self._jid.domain
            self._failure = Failure(f"cannot find the address of {name} (check the DNS and xmpp.host)")

    def _on_bad_login(self, stanza: Any) -> None:
        # slixmpp still tries the other mechanisms; the stream ends when none is left.
        reason = f"login refused: {stanza['condition']} (check xmpp.jid and its password)"
        self._failure = Failure(reason, lasting=True)

    def _on_no_login_left(self) -> None:
        self._failure = self._failure or Failure("login refused", lasting=True)

    def _on_disconnected(self, reason: object) -> None:
        if isinstance(reason, ssl.SSLError):
            explanation = getattr(reason, "verify_message", "") or reason.reason or str(reason)
            hint = "check the server's certificate, xmpp.ca_file and the clock"
            self._failure = Failure(f"TLS failed: {explanation.rstrip('.')} ({hint})", lasting=True)
        self._end(self._failure or Failure(str(reason) if reason else "the server closed the connection"))

    def _on_acknowledged(self, stanza: Any) -> None:
        for listener in self._listeners:
            listener.acknowledged(str(stanza["id"]))

    def _on_message(self, stanza: Any) -> None:
        for listener in self._listeners:
            listener.received(stanza.xml)

    def _end(self, failure: Failure) -> None:
        if self._ended is None or self._ended.done():
            return
        self._ended.set_result(None)
        self.connected, self.lost = False, failure
        self.presence.session_lost()
        self.tried.set()
        for listener in self._listeners:
            listener.session_lost(failure.reason)
