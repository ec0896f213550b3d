"""Who is there: how we show ourselves to others, and who of them shows."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Literal

from ucvm_agent.xmpp.account import read_jid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from slixmpp.stanza import Presence as Stanza

    from ucvm_agent.xmpp.stream import Stream


class Show(StrEnum):
    """The presences that XMPP knows (RFC 6121, section 4.7.2.1)."""

    AVAILABLE = ""
    AWAY = "away"
    CHAT = "chat"
    BUSY = "dnd"
    AWAY_LONG = "xa"


class Presence:
    """Our presence, and that of others.

    Arguments:
        controllers: JIDs of those who may see us.
        shown: False shows nobody that we are there.

    Raises:
        SettingsError: the JID of a controller is none.
    """

    def __init__(self, controllers: Iterable[str], *, shown: bool) -> None:
        self._controllers = {read_jid(controller, "xmpp.controllers").bare for controller in controllers}
        self._shown = shown
        self._status = (Show.AVAILABLE, "")
        self._on_presence: Callable[[str, bool], None] | None = None
        self._stream: Stream | None = None
        """None without a session."""

    def watch(self, on_presence: Callable[[str, bool], None]) -> None:
        """Tell of the presence of others: their full JIDs, and whether they are there.

        Who is seen is up to them; `subscribe` asks.
        """
        self._on_presence = on_presence

    def subscribe(self, account: str) -> None:
        """Ask an account, a bare JID, to be seen; nothing happens while there is no connection."""
        if self._stream is not None:
            self._stream.send_presence(pto=account, ptype="subscribe")

    def set_status(self, show: Show, text: str) -> None:
        """Say how the VM is, now and after each reconnection."""
        if (show, text) != self._status:
            self._status = (show, text)
            self._send()

    def install(self, stream: Stream) -> None:
        """Take what a stream, which outlives each session, hears of others."""
        stream.add_event_handler("presence_subscribe", lambda presence: self._on_subscription(stream, presence))
        stream.add_event_handler("presence_unavailable", lambda presence: self._tell(presence, there=False))
        for show in Show:  # slixmpp has an event for each way to be there
            name = f"presence_{show.value or 'available'}"
            stream.add_event_handler(name, lambda presence: self._tell(presence, there=True))

    def session_started(self, stream: Stream) -> None:
        """Show ourselves from now on."""
        self._stream = stream
        self._send()

    def session_lost(self) -> None:
        """Say nothing until there is a session."""
        self._stream = None

    def _send(self) -> None:
        show, text = self._status
        if self._stream is not None and self._shown:
            self._stream.send_presence(pshow=show.value or None, pstatus=text or None)

    def _on_subscription(self, stream: Stream, presence: Stanza) -> None:
        """Let the controllers, and nobody else, see how the VM is."""
        account = presence["from"].bare
        answer: Literal["subscribed", "unsubscribed"] = "subscribed" if account in self._controllers else "unsubscribed"
        stream.send_presence(pto=account, ptype=answer)

    def _tell(self, presence: Stanza, *, there: bool) -> None:
        if self._on_presence is not None:
            self._on_presence(str(presence["from"]), there)
