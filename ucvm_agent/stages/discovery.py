"""Finds user-data: what a source has, with what others add to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

import structlog

from ucvm_agent import sources
from ucvm_agent.errors import SourceError
from ucvm_agent.sources.find import find, find_local
from ucvm_agent.sources.machine import Machine
from ucvm_agent.stages.place import state_file

if TYPE_CHECKING:
    from ucvm_agent.settings import Settings
    from ucvm_agent.sources.asker import Asker
    from ucvm_agent.sources.base import Found, Source
    from ucvm_agent.sources.survey import Surveyed

log = structlog.get_logger()


async def discover(
    settings: Settings, on_wait: Callable[[str], None] | None = None, asker: Asker | None = None
) -> Found:
    """Find the source that answers, and let others add to it.

    Arguments:
        on_wait: called with the reason, whenever another round of asking is needed.
        asker: how to ask the controllers; without one, over a connection that is made for it.

    Raises:
        SettingsError: the settings name a source that does not exist.
        SourceError: none answered within `sources.deadline`.
    """
    rivals, additions = _made(settings, asker or _visit(settings))
    machine = await asyncio.to_thread(Machine.read)
    found = await find(rivals, machine, settings.sources.deadline, on_wait, chosen=sources.chosen(settings))
    return await _added(found, additions)


async def discover_local(settings: Settings) -> Found | None:
    """Return what `discover` will find once there is a network, if that shows before.

    Raises:
        SettingsError: the settings name a source that does not exist.
    """
    rivals, additions = _made(settings, None)
    machine = await asyncio.to_thread(Machine.read)
    found = await find_local(rivals, machine, chosen=sources.chosen(settings))
    return await _added(found, additions) if found else None


async def fall_back(settings: Settings, remembered: Found | None = None) -> Found | None:
    """Return what to go by where no source answers: what one said at an earlier boot, else what others would add to it.

    Arguments:
        remembered: of an earlier boot; what others add is read anew if that is all it was.
    """
    _, additions = _made(settings, None)
    if remembered is not None and remembered.source not in {source.name for source in additions}:
        return remembered
    for source in additions:
        try:
            return await source.fetch()
        except SourceError as error:
            log.debug("a source adds nothing", source=source.name, reason=str(error))
    return remembered


async def follow(found: Found, settings: Settings, asker: Asker | None) -> AsyncIterator[Found]:
    """Yield what the source says that differs from what it said before, with what others add to it.

    Arguments:
        found: what it said last.
        asker: how to ask the controllers.
    """
    from ucvm_agent.sources import following

    source = sources.make(found.source, settings, state_file(settings).parent, asker)
    _, additions = _made(settings, asker)
    async for newer in following.follow(source, found, settings.sources.follow):
        yield await _added(newer, additions)


async def _added(found: Found, additions: list[Source]) -> Found:
    for source in additions:
        try:
            found = await source.add_to(found)
        except SourceError as error:
            log.warning("a source adds nothing", source=source.name, reason=str(error))
    return found


async def survey_sources(settings: Settings) -> list[Surveyed]:
    """Ask all sources that may be asked, not only until one answers.

    Raises:
        SettingsError: the settings name a source that does not exist.
    """
    from ucvm_agent.sources.survey import survey

    rivals, _ = _made(settings, _visit(settings))
    machine = await asyncio.to_thread(Machine.read)
    return await survey(rivals, machine, chosen=sources.chosen(settings))


def _made(settings: Settings, asker: Asker | None) -> tuple[list[Source], list[Source]]:
    """Return the sources of which one wins, and those that add to what it gives.

    One of the latter counts as one of the former where nothing else is asked.
    """
    made = sources.make_all(settings, state_file(settings).parent, asker)
    rivals = [source for source in made if not source.adds]
    return (rivals, [source for source in made if source.adds]) if rivals else (made, [])


def _visit(settings: Settings) -> Asker | None:
    if not (settings.xmpp.jid and settings.xmpp.controllers):
        return None
    from ucvm_agent.assignment.visit import Visit

    return Visit(settings.xmpp, state_file(settings))
