"""The way from what a source found to the same with all that it includes.

    decode ──Context.includes──▶ fetch, all at once ──Found.included──▶ decode ──▶ … until nothing is missing

`userdata.include` bounds the number and the depth of includes, and so the rounds.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from ucvm_agent.include.cache import Cache
from ucvm_agent.include.fetch import Fetcher
from ucvm_agent.sources.base import Fetched
from ucvm_agent.userdata.decode import decode
from ucvm_agent.userdata.include import shown_url

if TYPE_CHECKING:
    from ucvm_agent.settings import Settings
    from ucvm_agent.sources.base import Found
    from ucvm_agent.userdata.context import Include

log = structlog.get_logger()


async def gather(found: Found, settings: Settings, folder: Path, *, keep: bool) -> Found:
    """Return what a source found with all that it includes.

    Arguments:
        folder: where the texts of earlier boots are kept.
        keep: whether those of now are written there; a dry run only reads.

    Raises:
        BoundExceeded: see `decode`.
    """
    context = await asyncio.to_thread(decode, found)
    cache = Cache(folder, found.metadata.instance_id)
    async with Fetcher(settings.include, found.metadata.region) as fetcher:
        while context.includes:
            async with asyncio.TaskGroup() as group:
                tasks = {
                    include.url: group.create_task(_obtain(include, fetcher, cache, keep=keep))
                    for include in context.includes
                }
            fetched = {url: task.result() for url, task in tasks.items()}
            found = replace(found, included={**found.included, **fetched})
            context = await asyncio.to_thread(decode, found)
    if keep:
        await asyncio.to_thread(cache.prune, found.included)
    return found


async def _obtain(include: Include, fetcher: Fetcher, cache: Cache, *, keep: bool) -> Fetched:
    """Return what an include brings: from the network, or from an earlier boot if that has to do or is enough."""
    if (refused := fetcher.refuse(include)) is not None:
        return refused
    kept = await asyncio.to_thread(cache.read, include.url)
    if include.once and kept is not None:
        return Fetched(kept)
    fetched = await fetcher.fetch(include)
    if fetched.data is not None:
        if keep and fetched.data != kept:
            await asyncio.to_thread(cache.write, include.url, fetched.data)
        return fetched
    log.warning(
        "an include cannot be fetched", url=shown_url(include.url), reason=fetched.failure, kept=kept is not None
    )
    return Fetched(kept, fetched.failure, fetched.hint)
