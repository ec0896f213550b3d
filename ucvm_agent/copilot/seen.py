"""The messages that were taken already, so that a repetition is not taken for a new one."""

from __future__ import annotations

import time
from collections import OrderedDict

MAX_SEEN = 100_000
"""Most ids that are remembered: more than the busiest controller gets before the second repetition of a message."""

SEEN_SECONDS = 25 * 3600.0
"""How long an id is remembered: longer than a peer repeats it (references/copilot-protocol.md, section 1.5)."""


class Seen:
    """Ids of messages by the account that sent them: what one account says cannot hide what another does."""

    def __init__(self) -> None:
        self._times: OrderedDict[tuple[str, str], float] = OrderedDict()

    def __contains__(self, key: tuple[str, str]) -> bool:
        """Whether this account has sent a message of this id."""
        return key in self._times

    def add(self, account: str, id: str) -> None:  # noqa: A002 - as the attribute is called
        """Remember a message, and forget the oldest."""
        now = time.monotonic()
        self._times[account, id] = now
        while len(self._times) > MAX_SEEN or next(iter(self._times.values())) < now - SEEN_SECONDS:
            self._times.popitem(last=False)
