"""The job manager: hands jobs out, takes their results in, and gives back what is lost.

Towards original agents it is the generic job manager of references/copilot-protocol.md, section 4; towards ours, what
docs/protocol-jobs.md describes.
"""

from __future__ import annotations

import asyncio

from ucvm_agent.controller.claims import Claims
from ucvm_agent.controller.counters import Counters
from ucvm_agent.controller.errands import Errands
from ucvm_agent.controller.feed import Feed
from ucvm_agent.controller.hand_out import HandOut
from ucvm_agent.controller.leases import Leases
from ucvm_agent.controller.ledger.base import Ledger
from ucvm_agent.controller.settings import Settings
from ucvm_agent.controller.take_in import TakeIn
from ucvm_agent.copilot.post import Post
from ucvm_agent.xmpp.client import Connection


class Manager:
    """What a controller does with jobs, as its duty in the settings says."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        claims: Claims,
        post: Post,
        connection: Connection,
        feed: Feed,
        counters: Counters,
    ) -> None:
        self._errands = Errands()
        self._leases = Leases(settings.jobs, ledger)
        connection.listen(self._leases)
        self._take_in = TakeIn(settings, ledger, post, counters, self._errands)
        self._hand_out = None
        if settings.jobs.duty != "storage":
            self._hand_out = HandOut(settings, ledger, claims, post, feed, counters, self._errands)

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._errands.run())
            group.create_task(self._leases.run())
            group.create_task(self._take_in.run())
            if self._hand_out is not None:
                group.create_task(self._hand_out.run())
