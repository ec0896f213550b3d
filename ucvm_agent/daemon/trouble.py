"""What comes between us and controllers: noted for `status`, and what only a person can mend as part of the state."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from ucvm_agent.errors import StoreError
from ucvm_agent.xmpp.listener import Listener

if TYPE_CHECKING:
    from ucvm_agent.copilot.refusals import Refusals
    from ucvm_agent.store.events import EventQueue
    from ucvm_agent.xmpp.client import Connection

LOOK_SECONDS = 2.0
"""Between two looks whether a person has mended something of which nobody tells."""


class Trouble(Listener):
    """Watches the connection.

    Arguments:
        events: knows how far each reporter is.
        reporters: the names of those that use the connection.
        refusals: of what comes over the connection.
        changed: called when `reason` is another one.
    """

    def __init__(
        self,
        connection: Connection,
        events: EventQueue,
        reporters: Sequence[str],
        refusals: Refusals,
        changed: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._events = events
        self._reporters = reporters
        self._refusals = refusals
        self._changed = changed
        self._news = asyncio.Event()
        connection.listen(self)
        refusals.changed = self._news.set

    @property
    def reason(self) -> str:
        """What does not pass by itself: a wrong password or certificate, a controller that has another key now."""
        lost = self._connection.lost
        no_connection = lost.lasting and not self._connection.connected
        return f"no XMPP connection: {lost.reason}" if no_connection else self._refusals.reason

    async def run(self) -> None:
        """Tell of each change until cancelled."""
        told = ""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS if self._refusals.reason else None):
                    await self._news.wait()
            if self._news.is_set():
                self._news.clear()
                await asyncio.to_thread(self._note)
            self._refusals.look()
            if self.reason != told:
                told = self.reason
                self._changed()

    def _note(self) -> None:
        """Write down whether controllers can be told: while nothing waits for them, nobody else would notice."""
        error = "" if self._connection.connected else f"no XMPP connection: {self._connection.lost.reason}"
        with suppress(StoreError):
            for reporter in self._reporters:
                self._events.undelivered(reporter, error)

    def session_started(self, *, resumed: bool) -> None:
        """Look anew."""
        self._news.set()

    def session_lost(self, reason: str) -> None:
        """Look anew."""
        self._news.set()
