"""Showing controllers what a context would do here, without doing it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ucvm_agent.contextualize.render_json import render_json
from ucvm_agent.errors import PlanError, UserDataError
from ucvm_agent.sources import xmpp
from ucvm_agent.stages.preparation import include, prepare

if TYPE_CHECKING:
    from ucvm_agent.assignment.controllers import Controllers
    from ucvm_agent.settings import Settings
    from ucvm_agent.sources.base import Found
    from ucvm_agent.store.store import Store


async def rehearse(controllers: Controllers, settings: Settings, store: Store) -> None:
    """Answer each context that is pushed for a dry run with its plan, until cancelled."""
    async for rehearsal in controllers.rehearsals():
        try:
            found = await include(xmpp.found_in(rehearsal.assignment), settings, keep=False)
            document = await asyncio.to_thread(_plan, found, settings, store)
        except (UserDataError, PlanError) as error:
            controllers.answer(rehearsal.sender, rehearsal.offer, "", str(error))
        else:
            controllers.answer(rehearsal.sender, rehearsal.offer, document)


def _plan(found: Found, settings: Settings, store: Store) -> str:
    return render_json(prepare(found, settings, store).preview(store))
