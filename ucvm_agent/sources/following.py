"""Following a source whose user-data may change while the daemon runs.

Each source knows how it can be watched (`base.Source.changes`); here is what they share: only other user-data are
news, and no fault of a source ends the watch.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import structlog

from ucvm_agent.errors import SourceError
from ucvm_agent.sources.base import Found, Source
from ucvm_agent.sources.race import crashed

log = structlog.get_logger()

JITTER = 0.1
"""Part of a pause that it is shorter or longer by, so that a fleet does not ask in step."""

AGAIN = 5.0
"""Seconds before a source that failed is followed again, beside its own pause."""


async def follow(source: Source, known: Found, pause: float) -> AsyncIterator[Found]:
    """Yield each answer with other user-data than the one before.

    A source that fails is logged once for each reason, and followed again. An answer without user-data is no news:
    services give such in passing, and it would be taken for a machine that is to be nothing.

    Arguments:
        known: its last answer.
        pause: seconds between two questions, for a source that has to ask; 0 = it does not ask.
    """
    source.detected = True
    told = ""
    while True:
        try:
            async with aclosing(source.changes(known, pause)) as changes:
                async for found in changes:
                    told = ""
                    if found.user_data is not None and _content(found) != _content(known):
                        known = found
                        yield found
            return
        except SourceError as error:
            reason = str(error)
        except Exception as error:  # a third party's code runs here, and must not end the daemon
            reason = crashed(source, error).message
        if reason != told:
            log.warning("a source cannot be followed now", source=source.name, reason=reason)
        told = reason
        await asyncio.sleep(AGAIN)


async def poll(source: Source, pause: float) -> AsyncGenerator[Found, None]:
    """Yield what a source answers, asked again and again with a pause before each question; 0 = never."""
    while pause:
        jitter = random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - no secret
        await asyncio.sleep(pause * jitter)
        yield await source.fetch()


def _content(found: Found) -> tuple[bytes | None, bytes | None]:
    return found.user_data, found.vendor_data
