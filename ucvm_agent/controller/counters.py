"""What the controller counts of itself, and tells a Co-Pilot monitor (references/copilot-protocol.md, section 7)."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from enum import StrEnum

import structlog

from ucvm_agent.controller.ledger.base import Ledger
from ucvm_agent.controller.settings import Settings
from ucvm_agent.copilot.messages import AnyMessage, ReportDuration, ReportEvent, ReportValue
from ucvm_agent.copilot.post import Post
from ucvm_agent.errors import DeliveryError, LedgerError

log = structlog.get_logger()


class Count(StrEnum):
    """What is counted."""

    START = "job.start"
    SUCCEEDED = "job.succeeded"
    FAILED = "job.failed"
    QUEUED = "queuedJobs"
    INVALID = "error.invalidJobId"
    EMPTY = "error.emptyQueue"


class Counters:
    """Counts, and tells the monitor of the settings, if there is one.

    Attributes:
        counts: how often each thing has happened since the start.
    """

    def __init__(self, settings: Settings, ledger: Ledger, post: Post) -> None:
        self.counts: Counter[Count] = Counter()
        self._monitor = settings.monitor
        self._ledger = ledger
        self._post = post
        # Full stops separate the parts of a counter's path.
        self._component = f"jobmanager.generic.{re.sub('[^A-Za-z0-9_-]', '_', settings.name)}"

    def count(self, what: Count, *, seconds: float | None = None) -> None:
        """Count something.

        Arguments:
            seconds: how long it took.
        """
        self.counts[what] += 1
        if seconds is None:
            self._tell(ReportEvent(component=self._component, event=what))
        else:
            milliseconds = str(round(seconds * 1000))
            self._tell(ReportDuration(component=self._component, event=what, duration=milliseconds))

    async def run(self) -> None:
        """Tell regularly how many jobs wait, until cancelled."""
        while True:
            await asyncio.sleep(self._monitor.seconds)
            if not self._monitor.jid:
                continue
            try:
                waiting = await self._ledger.waiting()
            except LedgerError as error:
                log.warning("the queue cannot be counted", reason=str(error))
            else:
                self._tell(ReportValue(component=self._component, event=Count.QUEUED, value=str(waiting)))

    def _tell(self, message: AnyMessage) -> None:
        if not self._monitor.jid:
            return
        try:
            self._post.send(self._monitor.jid, message, noack=True)
        except DeliveryError as error:
            log.debug("the monitor was not told", reason=error.message)
