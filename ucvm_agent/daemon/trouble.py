"""What keeps the XMPP connection away until a person mends it: part of how the machine is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element

if TYPE_CHECKING:
    from ucvm_agent.xmpp.client import Connection


class Trouble:
    """A `Listener` of the connection.

    Arguments:
        changed: called when `reason` is another one.
    """

    def __init__(self, connection: Connection, changed: Callable[[], None]) -> None:
        self._connection = connection
        self._changed = changed
        self._news = asyncio.Event()
        connection.listen(self)

    @property
    def reason(self) -> str:
        """Why there is no connection, if that does not pass by itself: a wrong password, a wrong certificate."""
        lost = self._connection.lost
        return f"no XMPP connection: {lost.reason}" if lost.lasting and not self._connection.connected else ""

    async def run(self) -> None:
        """Tell of each change until cancelled."""
        told = ""
        while True:
            await self._news.wait()
            self._news.clear()
            if self.reason != told:
                told = self.reason
                self._changed()

    def session_started(self, *, resumed: bool) -> None:
        """Look anew."""
        self._news.set()

    def session_lost(self, reason: str) -> None:
        """Look anew."""
        self._news.set()

    def received(self, message: Element) -> None:
        """Nothing to do."""

    def acknowledged(self, id: str) -> None:  # noqa: A002 - as the attribute is called
        """Nothing to do."""
