"""Contextualizing anew on a person's word: first the plan is shown, then that very user-data is applied."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ucvm_agent.contextualize.render_text import render_text
from ucvm_agent.errors import CommandRefused
from ucvm_agent.stages.completion import recall
from ucvm_agent.stages.discovery import discover
from ucvm_agent.stages.preparation import include, prepare

if TYPE_CHECKING:
    from ucvm_agent.assignment.controllers import Controllers
    from ucvm_agent.settings import Settings
    from ucvm_agent.sources.asker import Assignment
    from ucvm_agent.sources.base import Found
    from ucvm_agent.store.store import Store

SEARCH_SECONDS = 20.0
"""For a source to answer: clients wait half a minute for what they have asked."""

SHOWN_SECONDS = 900.0
"""How long a plan that was shown may be agreed to."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """User-data whose plan somebody was shown.

    Arguments:
        shown: monotonic time, in seconds.
    """

    found: Found
    shown: float


class Renewal:
    """What people were shown, and may agree to.

    Arguments:
        apply: has user-data applied, soon.

    Attributes:
        controllers: who may have a context, too.
    """

    def __init__(self, settings: Settings, store: Store, apply: Callable[[Found], None]) -> None:
        self.controllers: Controllers | None = None
        self._settings = settings
        self._store = store
        self._apply = apply
        self._proposals: dict[str, Proposal] = {}

    async def propose(self, who: str) -> str:
        """Look for user-data and return the plan that comes of it; remember it for whom it is shown.

        Raises:
            SourceError, UserDataError, PlanError: there is none, or it cannot be used.
            CommandRefused: no source has answered in time.
        """
        self._proposals.pop(who, None)
        asker = _Onlooker(self.controllers) if self.controllers else None
        try:
            async with asyncio.timeout(SEARCH_SECONDS):
                found = await discover(self._settings, asker=asker)
                found = await asyncio.to_thread(recall, found, self._store)
                whole = await include(found, self._settings, keep=False)
        except TimeoutError:
            raise CommandRefused(f"no source of user-data has answered within {SEARCH_SECONDS:.0f} s") from None
        plan = await asyncio.to_thread(self._plan, whole)
        self._proposals[who] = Proposal(found, time.monotonic())
        return plan

    def agree(self, who: str) -> str:
        """Have applied what somebody was shown; return where it is from.

        Raises:
            CommandRefused: they were shown nothing, or too long ago.
        """
        proposal = self._proposals.pop(who, None)
        if proposal is None or time.monotonic() - proposal.shown > SHOWN_SECONDS:
            raise CommandRefused("look at the plan first: it was not shown to you, or too long ago")
        self._apply(proposal.found)
        return f"{proposal.found.source} {proposal.found.origin}"

    def _plan(self, found: Found) -> str:
        return render_text(prepare(found, self._settings, self._store).preview(self._store), color=False)


class _Onlooker:
    """Asks controllers for a context that is only looked at; an `Asker`."""

    def __init__(self, controllers: Controllers) -> None:
        self._controllers = controllers
        self.news, self.pushes = controllers.news, controllers.pushes

    async def ask(self) -> Assignment:
        return await self._controllers.look()
