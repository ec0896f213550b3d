"""The contract of a reporter: one controller that is told of every event."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ucvm_agent.events import Event


class Reporter(ABC):
    """One controller.

    Arguments:
        name: unique and the same after a restart (`xmpp:jm@example.org`, `http:https://host/path`): the
            outbox remembers by it what this controller has. Never holds a credential.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    async def send(self, event: Event) -> None:
        """Deliver one event; return when the controller has it.

        The outbox calls it for one event at a time, in order, and bounds its time; it may get the same
        event again after a failure or a crash.

        Raises:
            DeliveryDelayed: not now; the outbox keeps the event and tries again with backoff.
            DeliveryRefused: never; the outbox counts it and goes on with the next.
        """

    async def run(self) -> None:
        """Keep the connection that `send` uses, until cancelled; a reporter without one returns at once."""
        return
