"""The contract of a reporter: one controller that is told of every event."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ucvm_agent.events import Event


class Reporter(ABC):
    """One controller.

    Arguments:
        name: unique and the same after a restart (`xmpp:jm@example.org`, `http:https://host/path`): the
            outbox remembers by it what this controller has. Never holds a credential.

    Attributes:
        again: set by the reporter when a delayed event is worth another try at once: the connection is back,
            or a late answer came in.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.again = asyncio.Event()

    @abstractmethod
    async def send(self, event: Event) -> None:
        """Deliver one event; return when the controller has it.

        The outbox calls it for one event at a time, in order, and calls it again for the same event after a
        delay or a crash. It should answer within half a minute; the outbox gives it a minute and then takes
        the event for delayed. A reporter for which an answer may take longer remembers what it sent.

        Raises:
            DeliveryDelayed: not now; the outbox keeps the event and tries again with backoff.
            DeliveryRefused: never; the outbox counts it and goes on with the next.
        """

    async def close(self) -> None:
        """Let go of what `send` keeps open."""
        return
