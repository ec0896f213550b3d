"""Commands and scripts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from ucvm_agent.contextualize.actions.base import Action, Change

if TYPE_CHECKING:
    from ucvm_agent.contextualize.system import System
    from ucvm_agent.contextualize.target import Target


@dataclass(frozen=True, kw_only=True)
class RunCommand(Action):
    """Run a program with its arguments, as root, exactly once per its frequency.

    Arguments:
        argv: never passed through a shell; a contextualizer that wants one says `("/bin/sh", "-c", text)`.
        timeout: seconds; then its whole process group is killed and the action has failed.
        sensitive: show the program only, not its arguments.
        environment: variables beside PATH, HOME, LANG.
    """

    kind: ClassVar[str] = "command"
    argv: tuple[str, ...]
    timeout: float = 3600.0
    sensitive: bool = False
    environment: tuple[tuple[str, str], ...] = ()

    @property
    def target(self) -> str:
        """The command line, for people."""
        raise NotImplementedError

    def preview(self, system: System) -> Change:
        """See `Action.preview`."""
        raise NotImplementedError

    async def apply(self, target: Target) -> None:
        """See `Action.apply`."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class RunScript(Action):
    """Run a script by its interpreter line, as root, exactly once per its frequency.

    Arguments:
        name: for people and for the log file.
        timeout: seconds, as in `RunCommand`.
    """

    kind: ClassVar[str] = "script"
    name: str
    text: bytes = field(repr=False)
    timeout: float = 3600.0
    environment: tuple[tuple[str, str], ...] = ()

    @property
    def target(self) -> str:
        """The name."""
        return self.name

    def preview(self, system: System) -> Change:
        """See `Action.preview`."""
        raise NotImplementedError

    async def apply(self, target: Target) -> None:
        """See `Action.apply`."""
        raise NotImplementedError
