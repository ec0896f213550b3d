"""Short tasks that messages start: as many at once as come, within a bound."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

import structlog

from ucvm_agent.errors import DeliveryError, LedgerError, StoreError

log = structlog.get_logger()

MOST = 10_000
"""Most tasks at once; what comes on top is dropped, and its sender repeats it."""


class Errands:
    """The tasks of one part of the controller."""

    def __init__(self) -> None:
        self._group: asyncio.TaskGroup | None = None
        self._count = 0
        self._dropped = 0

    def start(self, work: Coroutine[object, object, None]) -> bool:
        """Do something soon; called on the event loop. False if it is dropped."""
        if self._group is None or self._count >= MOST:
            work.close()
            self._dropped += 1
            if self._dropped.bit_count() == 1:  # 1, 2, 4, 8, …: a flood must not fill the log
                log.warning("messages were dropped", count=self._dropped)
            return False
        self._count += 1
        task = self._group.create_task(self._do(work))
        task.add_done_callback(lambda _: work.close())  # it may have been cancelled before it had begun
        return True

    async def run(self) -> None:
        """Do what is started, until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                self._group = None

    async def _do(self, work: Coroutine[object, object, None]) -> None:
        try:
            await work
        except (LedgerError, DeliveryError, StoreError) as error:
            log.warning("a message could not be acted upon", reason=str(error))
        finally:
            self._count -= 1
