"""The controllers as a source of user-data: they are asked over XMPP, and may tell of a newer context later.

docs/protocol-context.md holds the messages. Nothing here knows of XMPP itself, see `asker.py`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from ucvm_agent.errors import SourceAbsent, SourceUnavailable
from ucvm_agent.sources import base
from ucvm_agent.sources.base import Candidate, Found, Metadata

if TYPE_CHECKING:
    from pathlib import Path

    from ucvm_agent.settings import Sources
    from ucvm_agent.sources.asker import Assignment
    from ucvm_agent.sources.machine import Machine


class Source(base.Source):
    """User-data from the controllers of `[xmpp]`.

    Controllers that are there for reports only never offer a context, so unless this source is named, their silence
    counts as absence, and a cloud's answer is preferred.
    """

    name = "xmpp"
    rank = 60

    @classmethod
    def make(cls, settings: Sources, folder: Path | None) -> Source:
        """Make it; its settings are those of the connection."""
        return cls()

    def candidate(self, machine: Machine) -> Candidate:
        """Say whether there is anybody to ask."""
        if self.asker is None:
            return Candidate(False, "the settings name no XMPP account or no controllers")
        return Candidate(None, "the controllers may have a context for this machine")

    async def fetch(self) -> Found:
        """Ask all controllers and take the context of the first that offers one."""
        if self.asker is None:
            raise SourceAbsent("there is no controller to ask", hint="set xmpp.jid and xmpp.controllers")
        try:
            assignment = await self.asker.ask()
        except SourceUnavailable as error:
            if self.detected:
                raise
            raise SourceAbsent(error.message, where=error.where, hint=error.hint) from None
        self.reached = True
        return found_in(assignment)

    async def changes(self, known: Found, pause: float) -> AsyncGenerator[Found, None]:
        """Yield what the controllers push; they are not polled."""
        if self.asker is not None:
            async for assignment in self.asker.pushes():
                yield found_in(assignment)


def found_in(assignment: Assignment) -> Found:
    """Return what a controller gave as what this source found."""
    # No instance-id: a controller assigns contexts to machines, and another context makes no other machine.
    metadata = Metadata(sequence=assignment.sequence)
    return Found(Source.name, assignment.controller, assignment.user_data, metadata=metadata)
