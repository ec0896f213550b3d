"""Brings one controller its events, in order, for as long as that takes."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type
from tenacity.wait import wait_base

from ucvm_agent.errors import DeliveryDelayed, DeliveryRefused, NotConnected, StoreError
from ucvm_agent.events import Event
from ucvm_agent.report.base import Reporter
from ucvm_agent.store.store import Store

log = structlog.get_logger()

SEND_SECONDS = 60.0
"""How long a reporter may take for one event."""


class _Back(Exception):
    """The controller is there again, so that the next wait is a short one."""


class Courier:
    """The way to one controller.

    Arguments:
        store: holds the events, and how far this controller has been told.
        reporter: the controller.
        away: waiting times while it is away.
    """

    def __init__(self, store: Store, reporter: Reporter, away: wait_base) -> None:
        self._store = store
        self._reporter = reporter
        self._away = away
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._error = ""
        self._unconnected = False
        self._told = ""

    def wake(self) -> None:
        """There is a new event."""
        self._idle.clear()
        self._wake.set()

    async def drain(self) -> None:
        """Try at once what waits; return when the controller has everything."""
        self.wake()
        self._reporter.again.set()
        await self._idle.wait()

    async def run(self) -> None:
        """Deliver until cancelled."""
        passing = retry_if_exception_type((DeliveryDelayed, StoreError))
        deliver = AsyncRetrying(retry=passing, wait=self._wait, sleep=self._pause)
        try:
            while True:
                with suppress(_Back):
                    await deliver(self._deliver_next)
        finally:
            await self._reporter.close()

    async def _deliver_next(self) -> None:
        name = self._reporter.name
        # Both before looking, so that what is set while we look is not lost.
        self._wake.clear()
        self._reporter.again.clear()
        event = await asyncio.to_thread(self._store.events.next_event, name)
        if event is None:
            if not self._wake.is_set():
                self._idle.set()
            await self._wake.wait()
            return
        try:
            await self._send(event)
        except DeliveryRefused as error:
            log.warning("event refused", controller=name, event_id=event.id, reason=str(error))
            await asyncio.to_thread(self._store.events.delivered, name, event, refused=True, error=str(error))
        else:
            await asyncio.to_thread(self._store.events.delivered, name, event)
        if self._told:
            log.info("controller is back", controller=name)
        self._error = self._told = ""

    async def _send(self, event: Event) -> None:
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await self._reporter.send(event)
        except TimeoutError:
            raise DeliveryDelayed(f"no answer within {SEND_SECONDS:.0f} s") from None

    def _wait(self, state: RetryCallState) -> float:
        """Return the seconds until the next try, and log why there is one."""
        error = state.outcome and state.outcome.exception()
        wait = max(self._away(state), error.after if isinstance(error, DeliveryDelayed) else 0.0)
        self._error = str(error)
        self._unconnected = isinstance(error, NotConnected)
        # The same reason every few minutes for hours is worth one line, and none if the connection tells it.
        known = self._error == self._told or self._unconnected
        write = log.debug if known else log.info
        write("event not delivered", controller=self._reporter.name, reason=self._error, retry_seconds=round(wait, 1))
        if not known:
            self._told = self._error
        return wait

    async def _pause(self, seconds: float) -> None:
        await self._show(self._error)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._reporter.again.wait()
                if self._unconnected:  # the next answer may take long, and this is over
                    await self._show("")
                raise _Back

    async def _show(self, error: str) -> None:
        with suppress(StoreError):
            await asyncio.to_thread(self._store.events.undelivered, self._reporter.name, error)
