"""The contract of a scheme: how one file is fetched and sent, once; `move.py` does the rest."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

from ucvm_agent.settings import Transfer as Settings
from ucvm_agent.transfer.location import Location
from ucvm_agent.transfer.partial import Partial


class Transfer(ABC):
    """Moves files by one scheme.

    What fails and may pass is a `TransferDelayed`, after which `move.py` calls again; a method that is cancelled stops
    what it has started before it returns. Time is limited by the caller.

    Arguments:
        settings: `[transfer]`.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @abstractmethod
    async def fetch(self, source: Location, partial: Partial) -> None:
        """Fetch a file; go on with what an earlier try has left, or begin anew by `partial.restart`.

        Raises:
            TransferDelayed: it cannot be had now.
            TransferRefused: it never can, or is larger than `partial.limit`.
        """

    @abstractmethod
    async def send(self, source: Path, target: Location) -> None:
        """Send a file of this machine, replacing what is there; return when the other end has it.

        Raises:
            TransferDelayed: it cannot be sent now.
            TransferRefused: it is not wanted.
        """
