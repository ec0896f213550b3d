"""slixmpp's stream, with what it would do behind our back taken out.

Left alone, slixmpp reconnects by itself, follows a redirection that arrives before TLS (and then verifies the
certificate of whoever it was sent to), goes on to a session when a server offers neither TLS nor login, and
logs passwords at level debug. `client.py` decides when to connect; this class keeps to one attempt.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element

import structlog
from slixmpp import ClientXMPP
from slixmpp.xmlstream import StanzaBase
from slixmpp.xmlstream.xmlstream import NotConnectedError

log = structlog.get_logger()

# Its debug lines hold whole stanzas, SASL among them, and its errors the bytes that caused them.
logging.getLogger("slixmpp").setLevel(logging.CRITICAL + 1)

STREAM_NAMESPACE = "http://etherx.jabber.org/streams"
TLS_NAMESPACE = "urn:ietf:params:xml:ns:xmpp-tls"
STARTTLS = f"{{{TLS_NAMESPACE}}}starttls"
FEATURES = f"{{{STREAM_NAMESPACE}}}features"
STREAM_ERROR = f"{{{STREAM_NAMESPACE}}}error"
BEFORE_TLS = frozenset({FEATURES, STREAM_ERROR, f"{{{TLS_NAMESPACE}}}proceed", f"{{{TLS_NAMESPACE}}}failure"})
MAX_STANZA = 1024 * 1024
"""Most bytes of one stanza, which is held in memory; servers in use pass on a quarter of that at most."""
PING_SECONDS = 60
PING_ANSWER_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no connection.

    Arguments:
        reason: for a person; holds no secret.
        lasting: it will hardly pass by itself, so trying often is of no use.
    """

    reason: str
    lasting: bool = False


class Stream(ClientXMPP):
    """One stream to the server, and the session that outlives it by XEP-0198.

    Arguments:
        jid: full JID to log in as.
        failed: called with the reason when this class ends the stream.
    """

    def __init__(self, jid: str, failed: Callable[[Failure], None]) -> None:
        # Trusts nobody, until there is a context; slixmpp would read all authorities of the system, and more than once.
        super().__init__(jid, "", ssl_context=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        self._failed = failed
        self._unread = 0
        self._unsent: list[bytes] = []
        self._asking = False
        self.enable_direct_tls = False
        self.enable_plaintext = False
        # Neither accept nor refuse a subscription by itself.
        self.auto_authorize = None
        self.register_plugin("xep_0030")
        # Its own requests for acknowledgement go out before the stanza that they are meant to cover.
        self.register_plugin("xep_0198", {"window": -1})
        self.register_plugin("xep_0199", {"keepalive": True, "interval": PING_SECONDS, "timeout": PING_ANSWER_SECONDS})
        self.add_filter("out_sync", _log_sent)

    @property
    def encrypted(self) -> bool:
        """Whether TLS stands."""
        return isinstance(self.socket, ssl.SSLObject)

    @property
    def managed(self) -> bool:
        """Whether the server acknowledges stanzas (XEP-0198)."""
        return "stream_management" in self.features

    def request_acknowledgement(self) -> None:
        """Ask the server to acknowledge what was sent so far; it does so only when asked. One question is for all."""
        if self.managed and not self._asking:
            self._asking = True
            self.loop.call_soon(self._ask)

    def _ask(self) -> None:
        self._asking = False
        if not self.managed or not self.transport:
            return
        if self.waiting_queue.empty():
            self.plugin["xep_0198"].request_ack()  # type: ignore[no-untyped-call]  # as slixmpp leaves it
        else:  # behind what it is to cover
            self.send(self.plugin["xep_0198"].stanza.RequestAck(self))

    def send_raw(self, data: str | bytes) -> None:
        """Send, in one TLS record with all else that is said in this turn of the loop: servers read one at a time.

        Raises:
            NotConnectedError: there is no connection.
        """
        if not self.transport:
            raise NotConnectedError
        if not self._unsent:
            self.loop.call_soon(self._flush)
        self._unsent.append(data.encode() if isinstance(data, str) else data)

    def _flush(self) -> None:
        unsent, self._unsent = b"".join(self._unsent), []
        if self.transport:
            self.transport.write(unsent)

    def fail(self, reason: str, *, lasting: bool = False) -> None:
        """End the stream at once."""
        self._failed(Failure(reason, lasting))
        self.abort()

    def abort(self) -> None:
        """Close the connection at once, unless it is closed already and its loss is about to be told.

        slixmpp closes before it aborts, and asyncio fails to abort a TLS transport that was closed twice: with an
        AttributeError in Python 3.11.2, which Debian 12 has.
        """
        if self.transport is None or not self.transport.is_closing():
            super().abort()

    def reconnect(self, wait: float = 2.0, reason: str = "reconnecting") -> None:
        """End the stream; who holds it connects again (slixmpp calls this when a ping has no answer)."""
        self.fail(reason)

    def data_received(self, data: bytes | str) -> None:
        """Take what came over the wire, and no stanza without end."""
        self._unread += len(data)
        super().data_received(data)
        if self._unread > MAX_STANZA:
            self.fail(f"the server sent a stanza of more than {MAX_STANZA} bytes", lasting=True)

    def init_parser(self) -> None:
        """Begin a stream."""
        self._unread = 0
        super().init_parser()

    def incoming_filter(self, xml: Element) -> Element:
        """Let only that pass which may come at this stage, and log its outline."""
        self._unread = 0
        log.debug("xmpp stanza received", **outline(xml))
        if not self.encrypted and xml.tag not in BEFORE_TLS:
            self.fail(f"the server sent {_local(xml)} before TLS", lasting=True)
        elif not self.encrypted and xml.tag == FEATURES and xml.find(STARTTLS) is None:
            self.fail("the server offers no TLS", lasting=True)
        elif xml.tag == STREAM_ERROR:
            condition = _local(xml[0]) if len(xml) else "no condition"
            # Two agents under one address would otherwise push each other out without end.
            self.fail(f"the server ended the stream: {condition}", lasting=condition == "conflict")
        else:
            return xml
        return Element("{urn:ucvm-agent:stream}withheld")

    def exception(self, exception: Exception) -> None:
        """Log an error of a handler without its text, which may quote a stanza; the stream goes on."""
        trace, place = exception.__traceback__, ""
        while trace is not None:
            place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
            trace = trace.tb_next
        log.error("xmpp handler failed", error=type(exception).__name__, place=place)

    def release(self) -> None:
        """Drop what slixmpp leaves running after the last stream."""
        self.cancel_connection_attempt()
        self.abort()
        for name in list(self.scheduled_events):
            self.cancel_schedule(name)
        # It has no public way to end the task that empties its send queue.
        if self._run_out_filters is not None:
            self._run_out_filters.cancel()


def outline(xml: Element) -> dict[str, Any]:
    """Return what of a stanza may be logged: names and addresses, never text or values."""
    attributes = {name: xml.get(name) for name in ("id", "type", "from", "to", "ack") if xml.get(name)}
    return {"stanza": _local(xml), "children": [_local(child) for child in xml]} | attributes


def _log_sent(stanza: StanzaBase) -> StanzaBase:
    log.debug("xmpp stanza sent", **outline(stanza.xml))
    return stanza


def _local(xml: Element) -> str:
    return xml.tag.rpartition("}")[2]
