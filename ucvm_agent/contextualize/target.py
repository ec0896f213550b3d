"""What an action is applied to."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field
from pathlib import Path

from ucvm_agent.contextualize.secrets import Secrets
from ucvm_agent.contextualize.system import System


@dataclass(frozen=True, slots=True)
class Target:
    """A system that may be changed.

    Arguments:
        system: read it afresh: earlier actions have changed it.
        runs: directory (0700, real path) where commands and scripts keep their program, log and result, so
            that a restarted agent finds out how those it had started ended.
        run_key: begin of the names of this action's entries in `runs`: the same after a restart, unique in the
            plan. What is found under it is this attempt's; it is removed before the action is tried again, or
            done in another scope of its frequency.
        changed: paths that this run has changed so far.
        secrets: tells what references to secrets stand for.
    """

    system: System
    runs: Path
    run_key: str
    changed: Set[str]
    secrets: Secrets = field(default_factory=Secrets)
