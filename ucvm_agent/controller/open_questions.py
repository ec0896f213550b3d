"""Questions of agents of ours that wait for a job to come, so that the agents need not ask again and again."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

MOST = 10_000
"""Most agents whose questions are kept; the one that asked longest ago is forgotten first."""

KEPT_SECONDS = 2400.0
"""After this a question is stale: an agent asks at least every 1,920 s (references/copilot-protocol.md, section 3)."""


class OpenQuestions:
    """The last question of each agent that got no job for it.

    Only in memory: after a restart of the controller, agents ask again within five minutes.

    Arguments:
        clock: monotonic time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._questions: OrderedDict[str, tuple[str, float]] = OrderedDict()

    def __len__(self) -> int:
        """How many there are."""
        return len(self._questions)

    def keep(self, agent: str, request: str) -> None:
        """Keep the question of an agent (a full JID), which has no other one any more."""
        self._questions.pop(agent, None)
        self._questions[agent] = (request, self._clock())
        while len(self._questions) > MOST:
            self._questions.popitem(last=False)

    def forget(self, agent: str) -> None:
        """Forget the question of an agent."""
        self._questions.pop(agent, None)

    def oldest(self, count: int) -> list[tuple[str, str]]:
        """Return the agents and requests of so many questions, and forget what is stale."""
        fresh = self._clock() - KEPT_SECONDS
        for agent in [agent for agent, (_, asked) in self._questions.items() if asked < fresh]:
            del self._questions[agent]
        return [(agent, request) for agent, (request, _) in list(self._questions.items())[:count]]
