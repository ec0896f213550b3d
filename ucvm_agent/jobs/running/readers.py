"""Who reads what jobs print, so that it is not removed before it was read to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

PATIENCE = 5.0
"""Seconds that readers get for their last look."""


@dataclass(eq=False, slots=True)
class Reader:
    """One of them.

    Attributes:
        last: set when there will be no more to read.
        gone: set when it has read all.
    """

    job_id: str
    last: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)


class Readers:
    """All of them."""

    def __init__(self) -> None:
        self._all: set[Reader] = set()

    @contextmanager
    def reading(self, job_id: str) -> Iterator[asyncio.Event]:
        """Keep what a job has printed until the block is left; yields what is set when that should be soon."""
        reader = Reader(job_id)
        self._all.add(reader)
        try:
            yield reader.last
        finally:
            self._all.discard(reader)
            reader.gone.set()

    async def dismiss(self, job_id: str) -> None:
        """Return when nobody reads any more what a job has printed, or the patience is over."""
        readers = [reader for reader in self._all if reader.job_id == job_id]
        for reader in readers:
            reader.last.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                for reader in readers:
                    await reader.gone.wait()
