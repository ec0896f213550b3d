"""What a context waits for after it has been applied: another context that it names, and the keys of its cluster.

Both come from a service that may be slow or away, so the boot does not wait for them. When they are there, the
user-data is contextualized again with more in it; the journal lets that do only what differs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from ucvm_agent.cluster.membership import announce, join
from ucvm_agent.errors import SourceUnavailable
from ucvm_agent.events import State
from ucvm_agent.sources.base import Found

if TYPE_CHECKING:
    from ucvm_agent.settings import Settings
    from ucvm_agent.sources.cernvm_online import Key, Source
    from ucvm_agent.stages.preparation import Prepared
    from ucvm_agent.store.store import Store


def recall(found: Found, store: Store) -> Found:
    """Return what was found, with what an earlier boot got that this one cannot.

    That is what the platform wanted blanked, or the context of CernVM Online that the user-data name.
    """
    last = store.last_context()
    if last is None:
        return found
    if found.user_data is None and found.spent and _is_blanked(last, found):
        return replace(last, extra_data=found.extra_data, pickup=found.pickup)
    if last.overlay is None or found.user_data is None or found.overlay is not None:
        return found
    same = (found.user_data, found.base64) == (last.user_data, last.base64)
    return _overlaid(found, last, last.overlay) if same else found


def _is_blanked(last: Found, found: Found) -> bool:
    """Tell whether what is blank now is what we were told to blank, of the same instance as far as it says."""
    same = found.metadata.instance_id in ("", last.metadata.instance_id)
    return bool(last.to_blank) and last.source == found.source and same


async def complete(
    prepared: Prepared, settings: Settings, store: Store, enter: Callable[[State, str], object]
) -> Found | None:
    """Get what the context waits for, and play this machine's part in its cluster.

    Arguments:
        enter: enters a state of the VM for a reason.

    Returns:
        The same user-data with more in it or more known of it, to be contextualized again; None if it waits for
        nothing more.

    Raises:
        SettingsError, SourceError: what it waits for will not come.
    """
    if prepared.named is not None:
        from ucvm_agent.sources.cernvm_online import Source

        source = Source(settings.sources.cernvm_online, store.path.parent)
        online = await _fetch(source, prepared.named, settings, enter)
        online = replace(online, origin=f"{prepared.found.origin} and {online.origin}")
        return _overlaid(prepared.found, online, online.user_data)
    if (membership := prepared.membership) is None:
        return None
    if await join(membership, prepared.missing, settings.cluster, store):
        return prepared.found
    if membership.is_master and store.state is State.READY:
        await announce(membership, settings.cluster, store)
    return None


async def _fetch(source: Source, key: Key, settings: Settings, enter: Callable[[State, str], object]) -> Found:
    """Ask until there is an answer; after `sources.deadline` the state says what is missing."""
    answers: list[Found] = []
    reason = "no answer yet"

    async def ask() -> bool:
        nonlocal reason
        try:
            answers.append(await source.fetch_by(key))
        except SourceUnavailable as error:
            reason = str(error)
        return bool(answers)

    try:
        async with asyncio.timeout(settings.sources.deadline):
            if not await ask():
                from ucvm_agent.network.retry import keep_trying

                await keep_trying(ask)
    except TimeoutError:
        enter(State.DEGRADED, f"the context that the user-data names is missing: {reason}")
        while not answers:
            await asyncio.sleep(settings.sources.search_pause)
            await ask()
    return answers[0]


def _overlaid(found: Found, online: Found, user_data: bytes | None) -> Found:
    """Return what was found with the user-data, keys and origin of the context of CernVM Online that it names."""
    keys = tuple(dict.fromkeys((*found.metadata.public_keys, *online.metadata.public_keys)))
    metadata = replace(found.metadata, public_keys=keys)
    return replace(found, origin=online.origin, overlay=user_data or b"", metadata=metadata)
