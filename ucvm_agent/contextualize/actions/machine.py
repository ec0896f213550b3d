"""The host name, and units of the init system."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ucvm_agent.contextualize.actions.base import Action, Change

if TYPE_CHECKING:
    from ucvm_agent.contextualize.system import System
    from ucvm_agent.contextualize.target import Target


@dataclass(frozen=True, kw_only=True)
class SetHostname(Action):
    """Set the host name: /etc/hostname, and the kernel's name if the root is `/`."""

    kind: ClassVar[str] = "hostname"
    hostname: str

    @property
    def target(self) -> str:
        """The name."""
        return self.hostname

    def preview(self, system: System) -> Change:
        """See `Action.preview`."""
        raise NotImplementedError

    async def apply(self, target: Target) -> None:
        """See `Action.apply`."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class EnableUnit(Action):
    """Enable a systemd unit, and start it at once where the root is `/` and systemd runs."""

    kind: ClassVar[str] = "unit"
    unit: str
    start: bool = True

    @property
    def target(self) -> str:
        """The unit."""
        return self.unit

    def preview(self, system: System) -> Change:
        """See `Action.preview`."""
        raise NotImplementedError

    async def apply(self, target: Target) -> None:
        """See `Action.apply`."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class RestartUnit(Action):
    """Restart (or reload, if it can) a running unit; nothing to do where systemd does not run.

    Arguments:
        because: paths of this plan; restarted only if one of them was changed in this run.
    """

    kind: ClassVar[str] = "restart"
    unit: str
    because: tuple[str, ...] = ()

    @property
    def target(self) -> str:
        """The unit."""
        return self.unit

    def preview(self, system: System) -> Change:
        """See `Action.preview`."""
        raise NotImplementedError

    async def apply(self, target: Target) -> None:
        """See `Action.apply`."""
        raise NotImplementedError
