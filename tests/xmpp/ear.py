"""A listener for tests."""

from __future__ import annotations

import asyncio
from typing import Any
from xml.etree.ElementTree import Element


class Ear:
    """Keeps what the connection tells, in order."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()

    def session_started(self, *, resumed: bool) -> None:
        self.heard.put_nowait(("started", resumed))

    def session_lost(self, reason: str) -> None:
        self.heard.put_nowait(("lost", reason))

    def received(self, message: Element) -> None:
        self.heard.put_nowait(("received", message))

    def acknowledged(self, id: str) -> None:  # noqa: A002 - as the attribute is called
        self.heard.put_nowait(("acknowledged", id))

    async def next(self, kind: str) -> Any:
        """Return what comes with the next news of this kind."""
        async with asyncio.timeout(20):
            while True:
                heard, what = await self.heard.get()
                if heard == kind:
                    return what
