"""How the source `xmpp` asks the controllers: what it needs of a connection, whoever keeps that.

The daemon asks over the connection that its reports go through, a command over one of its own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Assignment:
    """A context that a controller gave.

    Arguments:
        controller: its JID, without resource.
        sequence: its number; a newer context of the same machine has a larger one.
    """

    controller: str
    user_data: bytes = field(repr=False)
    sequence: int


class Asker(Protocol):
    """Who can ask the controllers."""

    async def ask(self) -> Assignment:
        """Return the context of the controller that offers one first.

        Raises:
            SourceUnavailable: none offers one now, or it did not come through.
            SourceRefused: what came is not what was offered.
        """

    async def news(self) -> None:
        """Return when a controller may have a context that this machine has not."""

    def pushes(self) -> AsyncIterator[Assignment]:
        """Yield each newer context as the controllers tell of it."""
