"""Letting go, after the time that the settings say, of what is over."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import structlog

from ucvm_agent.controller.forgetting import Forgetting
from ucvm_agent.controller.ledger.base import Ledger
from ucvm_agent.controller.orphans import Orphans
from ucvm_agent.controller.settings import Keep
from ucvm_agent.errors import LedgerError, StoreError

log = structlog.get_logger()

PAUSE_SECONDS = 6 * 3600.0
"""Between two looks at what is over."""

PAGE = 100
"""Jobs that are looked at at once."""

STRAYED = "another job manager has handed it out, and nothing was heard of it since"


class Retention:
    """Forgets jobs and machines, and sweeps what nobody has; several controllers may do so at the same time."""

    def __init__(self, keep: Keep, ledger: Ledger, forgetting: Forgetting, orphans: Orphans) -> None:
        self._keep = keep
        self._ledger = ledger
        self._forgetting = forgetting
        self._orphans = orphans

    async def run(self) -> None:
        """Let go of what is over, at the start and then from time to time, until cancelled."""
        while True:
            await self.let_go(datetime.now(UTC))
            await asyncio.sleep(PAUSE_SECONDS)

    async def let_go(self, now: datetime) -> None:
        """Let go of what is over; what cannot be done now is done next time."""
        try:
            if self._keep.job_days:
                await self._forget_jobs(now - timedelta(days=self._keep.job_days))
            if self._keep.machine_days:
                await self._forget_machines(now - timedelta(days=self._keep.machine_days))
            await self._orphans.sweep()
        except (LedgerError, StoreError) as error:
            log.warning("what is over cannot be looked at", reason=str(error))

    async def _forget_jobs(self, before: datetime) -> None:
        for job in await self._ledger.strayed(before):
            await self._ledger.cancel(job.id, STRAYED, now=datetime.now(UTC))
        stuck = 0
        while jobs := await self._ledger.ended(before, limit=PAGE, offset=stuck):
            for job in jobs:
                try:
                    await self._forgetting.forget(job)
                except StoreError as error:
                    stuck += 1
                    log.error("a job cannot be forgotten", job=job.id, reason=str(error))

    async def _forget_machines(self, before: datetime) -> None:
        for machine in await self._ledger.silent(before):
            if await self._ledger.forget_machine(machine.machine_id, before=before):
                log.info("machine forgotten", machine=machine.machine_id, seen=machine.seen.isoformat())
