"""How long to wait before the next try of something that is tried for ever."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Backoff:
    """Waiting times that double from try to try, each drawn from the upper half of its range.

    The jitter keeps a fleet that lost its controller at one moment from coming back at one moment.

    Arguments:
        first: longest wait after the first failure, in seconds.
        limit: longest wait ever, in seconds.
        draw: returns a random number from 0 to 1.
    """

    first: float = 1.0
    limit: float = 300.0
    draw: Callable[[], float] = random.random
    failures: int = field(default=0, init=False)

    def next(self, *, at_least: float = 0.0) -> float:
        """Return the seconds to wait after one more failure.

        Arguments:
            at_least: seconds, for a failure that will not pass by itself; `limit` is kept nevertheless.
        """
        # The exponent is bounded so that a year of failures does not overflow a float.
        longest = min(self.limit, max(at_least, self.first * 2.0 ** min(self.failures, 60)))
        self.failures += 1
        return longest * (0.5 + self.draw() / 2)

    def reset(self) -> None:
        """Begin anew after a success."""
        self.failures = 0
