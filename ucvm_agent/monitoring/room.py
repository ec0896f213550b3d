"""The chat room in which the machines of a site are to be found (references/copilot-protocol.md, section 2.14)."""

from __future__ import annotations

import asyncio
import random
import secrets
from typing import TYPE_CHECKING

import structlog
from slixmpp import JID
from slixmpp.exceptions import XMPPError
from slixmpp.plugins.xep_0004 import Form

from ucvm_agent.errors import SettingsError
from ucvm_agent.xmpp.account import read_jid
from ucvm_agent.xmpp.listener import Listener

if TYPE_CHECKING:
    from slixmpp.stanza import Presence

    from ucvm_agent.xmpp.client import Connection
    from ucvm_agent.xmpp.stream import Stream

log = structlog.get_logger()

ENTER_SECONDS = 30.0
"""For the room to let us in."""

NEW_ROOM = 201
"""Status of a room that was made by our entering."""

PAUSE_SECONDS = 60.0
"""Longest pause before another try, and before coming back after the room has put us out."""


def read_room(text: str) -> JID:
    """Return the address of a chat room.

    Raises:
        SettingsError: it is none.
    """
    room = read_jid(text, "monitoring.room")
    if not room.user or room.resource:
        raise SettingsError(f"not a chat room: {text}", where="monitoring.room", hint="write it as ROOM@SERVER")
    return room


class Room(Listener):
    """Our place in the room, taken again whenever it was lost.

    Its nickname is the resource of our JID; where somebody has that already, a random pair like `e48b-42d9`.

    Arguments:
        room: its address.
    """

    def __init__(self, connection: Connection, room: JID) -> None:
        self._room = room
        self._connection = connection
        self._stream: Stream | None = None
        self._lost = asyncio.Event()
        connection.extend(self._install)
        connection.listen(self)
        if connection.connected:
            self._lost.set()

    async def run(self) -> None:
        """Be in the room until cancelled."""
        while True:
            await self._lost.wait()
            self._lost.clear()
            if self._connection.connected and not await self._enter():
                self._lost.set()
                await asyncio.sleep(random.uniform(PAUSE_SECONDS / 2, PAUSE_SECONDS))  # noqa: S311 - no secret

    def _install(self, stream: Stream) -> None:
        self._stream = stream
        stream.register_plugin("xep_0045")
        stream.add_event_handler(f"muc::{self._room.bare}::self-presence", self._on_own_presence)
        stream.add_event_handler("presence_error", self._on_refusal)

    async def _enter(self) -> bool:
        if self._stream is None:
            return False
        pair = f"{secrets.token_hex(2)}-{secrets.token_hex(2)}"
        for nickname in (self._stream.boundjid.resource, pair):
            condition = await _join(self._stream, self._room, nickname)
            if not condition:
                log.info("in the chat room", room=self._room.bare, nickname=nickname)
                return True
            log.warning("the chat room does not let us in", room=self._room.bare, reason=condition)
            if condition != "conflict":
                return False
        return False

    def _on_refusal(self, presence: Presence) -> None:
        """Tell slixmpp: it knows a room's refusal by an element that Prosody, for one, leaves out."""
        if self._stream is not None and presence["from"].bare == self._room.bare:
            self._stream.event(f"muc::{self._room.bare}::presence-error", presence)

    def _on_own_presence(self, presence: Presence) -> None:
        if presence["type"] == "unavailable":
            log.warning("the chat room has put us out", room=self._room.bare)
            loop = asyncio.get_running_loop()
            loop.call_later(random.uniform(PAUSE_SECONDS / 2, PAUSE_SECONDS), self._lost.set)  # noqa: S311 - no secret

    # What the connection tells

    def session_started(self, *, resumed: bool) -> None:
        """Enter again, unless the session goes on that is in the room."""
        if not resumed:
            self._lost.set()


async def _join(stream: Stream, room: JID, nickname: str) -> str:
    """Enter a room under a nickname; return why it was not possible, or an empty string."""
    rooms = stream.plugin["xep_0045"]
    try:
        presence, *_ = await rooms.join_muc_wait(room, nickname, maxstanzas=0, timeout=ENTER_SECONDS)
        if NEW_ROOM in presence["muc"]["status_codes"]:
            # Until somebody agrees to how it is set up, nobody else may enter (XEP-0045, section 10.1.2).
            form = Form()  # type: ignore[no-untyped-call]  # as slixmpp leaves it
            await rooms.set_room_config(room, form, timeout=ENTER_SECONDS)
    except XMPPError as error:
        return str(error.condition)
    except TimeoutError:
        return "no answer"
    return ""
