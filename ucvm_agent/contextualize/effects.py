"""What a step would do now, seen from the runs before this one. The preview and the real run both ask here."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import TYPE_CHECKING

from ucvm_agent.contextualize.actions import Action, Change, Effect
from ucvm_agent.userdata.context import Context, Frequency

if TYPE_CHECKING:
    from ucvm_agent.contextualize.system import System
    from ucvm_agent.store.journal import Journal

Scopes = Mapping[Frequency, str]
"""What each frequency counts by: an action is done once for each of these."""


def scopes_of(context: Context, journal: Journal) -> Scopes:
    """Return the present scopes.

    Where the platform gives no instance-id, the disk stands for the instance: one that is made of the user-data would
    have all done again for a changed line.
    """
    metadata = context.metadata
    return {
        Frequency.INSTANCE: (not metadata.derived and metadata.instance_id) or journal.machine_id,
        Frequency.BOOT: journal.boot_id,
        Frequency.ONCE: "once",
    }


def change_of(action: Action, system: System, changed: Set[str]) -> Change:
    """Say what applying an action would change now; reads only.

    Arguments:
        changed: paths that this plan has changed so far, or would have.
    """
    if action.causes and changed.isdisjoint(cause.name for cause in action.causes):
        return Change(Effect.NONE, "nothing that it reads has changed")
    return action.preview(system)


def paths_of(action: Action) -> Set[str]:
    """Return the paths that an action makes."""
    return {resource.name for resource in action.provides() if resource.kind == "path"}
