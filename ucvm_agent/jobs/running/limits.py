"""What a job may use at most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ucvm_agent.settings import Jobs


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits of a job; 0 is none, except of `output`.

    Arguments:
        wall: seconds; for the job, and again for its validation.
        memory: bytes of all processes together.
        cpus: processors kept busy at the same time.
        processes: processes and threads.
        disk: bytes in its folder.
        output: bytes that are kept of each stream.
    """

    wall: float = 0.0
    memory: int = 0
    cpus: float = 0.0
    processes: int = 0
    disk: int = 0
    output: int = 64 * 1024**2

    @classmethod
    def of(cls, settings: Jobs) -> Limits:
        """Return the limits of the settings."""
        return cls(
            wall=settings.wall_limit,
            memory=settings.memory_limit,
            cpus=settings.cpus,
            processes=settings.processes,
            disk=settings.disk_limit,
            output=settings.output_limit,
        )
