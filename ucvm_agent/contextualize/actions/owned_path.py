"""What actions that make one path, with an owner and a mode or without, have in common."""

from __future__ import annotations

from dataclasses import dataclass

from ucvm_agent.contextualize.actions.attributes import accounts, demand_mode, demand_path, parents, path_resource
from ucvm_agent.contextualize.actions.base import Action, Resource


@dataclass(frozen=True, kw_only=True)
class PathAction(Action):
    """The base of actions that make something at a path.

    Arguments:
        path: absolute, beneath the root.
    """

    path: str

    @property
    def target(self) -> str:
        """The path."""
        return self.path

    def provides(self) -> frozenset[Resource]:
        """See `Action.provides`: the path."""
        return frozenset({path_resource(self.path)})

    def requires(self) -> frozenset[Resource]:
        """See `Action.requires`: the directories above, not what a link points to."""
        return parents(self.path)


@dataclass(frozen=True, kw_only=True)
class OwnedPath(PathAction):
    """The base of those that say whose it is.

    Arguments:
        mode: permission bits.
        owner, group: names, looked up in the account files beneath the root when it is applied.

    Raises:
        ValueError: the path or the mode is none.
    """

    mode: int = 0o644
    owner: str = "root"
    group: str = "root"

    def __post_init__(self) -> None:
        demand_path(self.path)
        demand_mode(self.mode)

    def requires(self) -> frozenset[Resource]:
        """See `Action.requires`: the owner and the directories above."""
        return super().requires() | accounts(self.owner, self.group)
