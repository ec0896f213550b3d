"""The outbox: sees to it that every controller gets every event, however long it is away.

The events lie in the store. A courier for each controller takes them out in order, one at a time; how far it
has come is in the store as well, so neither a crash of ours nor an absence of theirs loses anything, and no
controller holds up another.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from ucvm_agent.errors import StoreError
from ucvm_agent.network.retry import AWAY
from ucvm_agent.report.courier import Courier
from ucvm_agent.report.reporters import Reporters, make_reporters
from ucvm_agent.settings import Settings
from ucvm_agent.store.store import Store

if TYPE_CHECKING:
    from tenacity.wait import wait_base

    from ucvm_agent.xmpp.client import Connection


class Outbox:
    """The couriers of all controllers.

    Arguments:
        store: of the VM; `on_event` of its events is ours while the outbox runs.
        reporters: the controllers.
        away: waiting times while a controller is away.
    """

    def __init__(self, store: Store, reporters: Reporters, *, away: wait_base = AWAY) -> None:
        self._store = store
        self._reporters = reporters
        self._changed = asyncio.Event()
        self._couriers = tuple(Courier(store, reporter, away) for reporter in reporters.each)

    @property
    def connection(self) -> Connection | None:
        """The XMPP connection of the reports, for whatever else the controllers are asked or told."""
        return self._reporters.connection

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings, store: Store) -> AsyncIterator[Outbox]:
        """Run the outbox of the controllers that the settings name, until the block is left.

        Raises:
            SettingsError: a JID is none.
            StoreError: the state file cannot be used.
        """
        async with cls(store, make_reporters(settings, store.machine_id)).running() as outbox:
            yield outbox

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Outbox]:
        """Deliver until the block is left."""
        await asyncio.to_thread(self._register)
        loop = asyncio.get_running_loop()

        def wake_from_any_thread() -> None:
            loop.call_soon_threadsafe(self.wake)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(courier.run()) for courier in self._couriers]
            if self._reporters.connection is not None:
                tasks.append(group.create_task(self._reporters.connection.run()))
                tasks.append(group.create_task(self._show_state(self._reporters.connection)))
            self._store.events.on_event = wake_from_any_thread
            try:
                yield self
            finally:
                self._store.events.on_event = _ignore
                for task in tasks:
                    task.cancel()

    def wake(self) -> None:
        """There are new events; the store says so by itself while the outbox runs."""
        self._changed.set()
        for courier in self._couriers:
            courier.wake()

    async def drain(self, timeout: float) -> bool:  # noqa: ASYNC109 - running out of time is an answer, not an error
        """Try at once what waits; return whether all controllers have everything within `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout), asyncio.TaskGroup() as group:
                for courier in self._couriers:
                    group.create_task(courier.drain())
        except TimeoutError:
            return False
        return True

    def _register(self) -> None:
        names = [reporter.name for reporter in self._reporters.each]
        self._store.events.keep_reporters(set(names))
        for name in names:
            self._store.events.add_reporter(name)

    async def _show_state(self, connection: Connection) -> None:
        """Keep the state in the VM's presence, where everybody who watches the VM sees it."""
        from ucvm_agent.report.presence import presence

        while True:
            self._changed.clear()
            # A faulty state file shows in the deliveries; the presence is not worth the end of the daemon.
            with suppress(StoreError):
                state, reason = await asyncio.to_thread(lambda: (self._store.state, self._store.reason))
                if state is not None:
                    connection.presence.set_status(*presence(state, reason))
            await self._changed.wait()


def _ignore() -> None:
    """Take no notice of events."""
