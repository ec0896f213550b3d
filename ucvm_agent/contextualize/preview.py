"""What a plan would change now, found out once and shown in any form. Reads only."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from ucvm_agent.contextualize.actions import Change, Effect
from ucvm_agent.contextualize.effects import Scopes, change_of, paths_of, scopes_of
from ucvm_agent.contextualize.plan import Plan, Step
from ucvm_agent.contextualize.redaction import trace
from ucvm_agent.errors import ActionError
from ucvm_agent.userdata.context import Severity

if TYPE_CHECKING:
    from ucvm_agent.contextualize.system import System
    from ucvm_agent.store.journal import Journal, JournalEntry

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Preview:
    """A plan, with what each of its steps would change.

    Arguments:
        changes: one for each step, in their order.
        source: where the context came from, for people.
    """

    plan: Plan
    changes: tuple[Change, ...]
    source: str = ""

    @property
    def errors(self) -> int:
        """How many errors the context has."""
        return self.severities[Severity.ERROR]

    @property
    def severities(self) -> Counter[Severity]:
        """How many problems there are of each severity."""
        return Counter(problem.severity for problem in self.plan.problems)

    @property
    def effects(self) -> Counter[Effect]:
        """How many steps there are of each effect."""
        return Counter(change.effect for change in self.changes)


def preview(plan: Plan, system: System, journal: Journal | None = None, *, source: str = "") -> Preview:
    """Find out what applying the plan would change now; needs no privilege.

    Arguments:
        journal: what was done before, if an agent has run here: what is done in its scope is not done again.
    """
    scopes = scopes_of(plan.context, journal) if journal else {}
    changed: set[str] = set()
    changes = []
    for step in plan.steps:
        entry = _done(step, scopes, journal)
        change = Change(Effect.NONE, "done before") if entry else _change(step, system, changed)
        changes.append(change)
        if (entry.effect if entry else change.effect) != Effect.NONE:
            changed |= paths_of(step.action)
    return Preview(plan, tuple(changes), source)


def _done(step: Step, scopes: Scopes, journal: Journal | None) -> JournalEntry | None:
    entry = journal.journal(step.key, scopes[step.frequency]) if journal else None
    return entry if entry and entry.outcome == "done" else None


def _change(step: Step, system: System, changed: set[str]) -> Change:
    try:
        return change_of(step.action, system, changed)
    except ActionError as error:
        return Change(Effect.UPDATE, f"would fail: {error}")
    except Exception as error:  # an action may be a third party's
        kind = type(error).__name__
        log.debug("preview raised", contextualizer=step.contextualizer, error=kind, trace=trace(error))
        return Change(Effect.UPDATE, f"would fail: {kind}")
