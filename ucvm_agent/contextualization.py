"""The way from settings to a contextualized system, as the dry run, `apply` and the daemon all go it.

discover ──Found──▶ prepare ──Prepared──▶ render (dry run) or apply
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ucvm_agent import sources
from ucvm_agent.contextualize import registry
from ucvm_agent.contextualize.apply import Applied, apply
from ucvm_agent.contextualize.plan import Plan, make_plan
from ucvm_agent.contextualize.preview import Preview, preview
from ucvm_agent.contextualize.rootfs import RootFS
from ucvm_agent.contextualize.system import System
from ucvm_agent.events import ContextReceived, State
from ucvm_agent.sources.find import find
from ucvm_agent.sources.machine import Machine
from ucvm_agent.store.store import FILE_NAME
from ucvm_agent.userdata.context import Problem, Severity
from ucvm_agent.userdata.decode import decode

if TYPE_CHECKING:
    from ucvm_agent.settings import Settings
    from ucvm_agent.sources.base import Found
    from ucvm_agent.store import Store
    from ucvm_agent.store.journal import Journal

REASON_LENGTH = 500
"""Most characters of the reason that a state carries; `status` and the events hold the rest."""

TOLD_PROBLEMS = 50
"""Most problems of a context that are reported, …"""

PROBLEM_LENGTH = 400
"""… and most characters of each."""

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Prepared:
    """All that is known before anything is changed."""

    found: Found
    system: System
    plan: Plan

    def preview(self, journal: Journal | None) -> Preview:
        """Find out what would change now.

        Arguments:
            journal: of what was done before, if there is one.
        """
        return preview(self.plan, self.system, journal, source=f"{self.found.source} {self.found.origin}")


async def discover(settings: Settings, on_wait: Callable[[str], None] | None = None) -> Found:
    """Find the source that answers.

    Arguments:
        on_wait: called with the reason, whenever another round of asking is needed.

    Raises:
        SettingsError: the settings name a source that does not exist.
        SourceError: none answered within `sources.deadline`.
    """
    candidates = [sources.make(name, settings) for name in settings.sources.names]
    machine = await asyncio.to_thread(Machine.read)
    return await find(candidates, machine, settings.sources.deadline, on_wait)


def prepare(found: Found, settings: Settings) -> Prepared:
    """Decode the user-data and plan what it asks for; changes nothing.

    Raises:
        UserDataError: it cannot be used at all.
        PlanError: the contextualizers contradict each other.
    """
    system = System(settings.root)
    loaded = registry.load(settings)
    plan = make_plan(decode(found), system, loaded.contextualizers, loaded.problems, disabled=loaded.disabled)
    return Prepared(found, system, plan)


async def carry_out(
    prepared: Prepared, settings: Settings, store: Store, enter: Callable[[State, str], object]
) -> Applied:
    """Remember the context, apply the plan, and enter the state that comes of it.

    Arguments:
        enter: enters a state of the VM for a reason.

    Raises:
        StoreError: the state file cannot be used.
    """
    plan = prepared.plan
    enter(State.CONTEXTUALIZING, f"user-data from {prepared.found.origin}")
    await asyncio.to_thread(store.keep_context, prepared.found, plan.context.digest, _received(prepared))
    applied = await apply(
        plan,
        prepared.system,
        store,
        parallel=settings.contextualize.parallel,
        state_dir=store.path.parent,
    )
    enter(*_verdict(plan, applied))
    return applied


def _verdict(plan: Plan, applied: Applied) -> tuple[State, str]:
    faults = [f"{failure.kind} {failure.target}: {failure.reason}" for failure in applied.failures]
    faults += [line for problem, line in _lines(plan) if problem.severity is Severity.ERROR]
    reason = "; ".join(faults)
    if len(reason) > REASON_LENGTH:
        reason = f"{reason[:REASON_LENGTH]}… ({len(faults)} faults in all)"
    return (State.DEGRADED, reason) if faults else (State.READY, "")


def _received(prepared: Prepared) -> ContextReceived:
    severities = Counter(problem.severity for problem in prepared.plan.problems)
    return ContextReceived(
        source=prepared.found.source,
        origin=prepared.found.origin,
        instance_id=prepared.found.metadata.instance_id,
        digest=prepared.plan.context.digest,
        errors=severities[Severity.ERROR],
        warnings=severities[Severity.WARNING],
        problems=_told(prepared.plan),
    )


def _told(plan: Plan) -> tuple[str, ...]:
    """Return what an event says of the problems: the first of them, since a message has its bounds."""
    lines = [f"{problem.severity}: {line}"[:PROBLEM_LENGTH] for problem, line in _lines(plan)]
    more = len(lines) - TOLD_PROBLEMS
    return (*lines[:TOLD_PROBLEMS], f"… and {more} more: see `ucvm-agent --dry-run`") if more > 0 else tuple(lines)


def _lines(plan: Plan) -> Iterator[tuple[Problem, str]]:
    for problem in plan.problems:
        place = f"{problem.place.part} line {problem.place.line}: " if problem.place.line else ""
        yield problem, f"{place}{problem.message}" + (f" ({problem.hint})" if problem.hint else "")


def state_file(settings: Settings) -> Path:
    """Return the real path of the file with the state of the system beneath the root."""
    return RootFS(settings.root).real(str(settings.state_dir)) / FILE_NAME


def boot_id() -> str:
    """Return the id of this boot of the kernel."""
    return BOOT_ID.read_text().strip()
