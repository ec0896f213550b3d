"""What is logged of peers that do something wrong: enough to find them, and never so much that the log is full."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

import structlog

log = structlog.get_logger()

SPAN_SECONDS = 60.0
ACCOUNT_LINES = 5
"""Most lines about one account in a span of time, …"""
ALL_LINES = 60
"""… and about all together."""


class Complaints:
    """The lines about peers.

    Arguments:
        clock: monotonic time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._lines: Counter[str] = Counter()
        self._left_out = 0

    def write(self, event: str, account: str, **fields: object) -> None:
        """Write a warning, unless there were too many lately.

        Arguments:
            event: what is wrong.
            account: whose fault it is, a bare JID.
            fields: more about it, without anything secret.
        """
        if self._clock() - self._began > SPAN_SECONDS:
            self._begin()
        if self._lines[account] >= ACCOUNT_LINES or self._lines.total() >= ALL_LINES:
            self._left_out += 1
            return
        self._lines[account] += 1
        log.warning(event, account=account, **fields)

    def _begin(self) -> None:
        if self._left_out:
            log.warning("complaints about peers were left out", count=self._left_out)
        self._began, self._left_out = self._clock(), 0
        self._lines.clear()
