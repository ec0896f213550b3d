"""Giving back what agents have been silent about for too long."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import structlog

from ucvm_agent.controller.ledger.base import Ledger
from ucvm_agent.controller.settings import Jobs
from ucvm_agent.errors import LedgerError
from ucvm_agent.xmpp.listener import Listener

log = structlog.get_logger()

LONGEST_PAUSE = 10.0
"""Seconds between two looks at what has run out."""


class Leases(Listener):
    """Puts jobs back whose lease has run out.

    Silence counts only while we can hear: after the start, and after the server was away, every agent gets the time of
    a lease to say that it is alive.
    """

    def __init__(self, jobs: Jobs, ledger: Ledger) -> None:
        self._jobs = jobs
        self._ledger = ledger
        self._hears = asyncio.Event()
        self._lost = asyncio.Event()

    async def run(self) -> None:
        """Give back until cancelled."""
        while True:
            await self._hears.wait()
            if await self._pause(self._jobs.lease_seconds):
                while await self._pause(min(LONGEST_PAUSE, self._jobs.lease_seconds / 4)):
                    await self._sweep()

    async def _pause(self, seconds: float) -> bool:
        """Wait; False as soon as we hear nothing any more."""
        try:
            async with asyncio.timeout(seconds):
                await self._lost.wait()
        except TimeoutError:
            return True
        return False

    async def _sweep(self) -> None:
        try:
            for job in await self._ledger.expired(now=datetime.now(UTC)):
                if job.lease is None:
                    continue
                reason = f"nothing was heard of it from {job.lease.host or job.lease.agent}"
                back = await self._ledger.give_back(job.id, job.lease.id, reason, now=datetime.now(UTC))
                if back is not None:
                    log.warning("a lease has run out", job=job.id, agent=job.lease.agent, status=back.status)
        except LedgerError as error:
            log.warning("leases cannot be looked at", reason=str(error))

    # What the connection tells

    def session_started(self, *, resumed: bool) -> None:
        """Begin to listen."""
        self._lost.clear()
        self._hears.set()

    def session_lost(self, reason: str) -> None:
        """Hear nothing."""
        self._hears.clear()
        self._lost.set()
