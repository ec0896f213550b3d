"""Carries out what was prepared, and tells how the VM is afterwards.

Apart from `preparation.py`, since a dry run has to start without the store and the events.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import structlog

from ucvm_agent import sources
from ucvm_agent.contextualize.apply import Applied, apply
from ucvm_agent.errors import SourceError
from ucvm_agent.events import ContextReceived, State
from ucvm_agent.userdata.context import Problem, Severity

if TYPE_CHECKING:
    from ucvm_agent.contextualize.plan import Plan
    from ucvm_agent.settings import Settings
    from ucvm_agent.sources.base import Found
    from ucvm_agent.stages.preparation import Prepared
    from ucvm_agent.store.store import Store

log = structlog.get_logger()

REASON_LENGTH = 500
"""Most characters of the reason that a state carries; `status` and the events hold the rest."""

TOLD_PROBLEMS = 50
"""Most problems of a context that are reported, …"""

PROBLEM_LENGTH = 400
"""… and most characters of each."""


async def carry_out(
    prepared: Prepared, settings: Settings, store: Store, enter: Callable[[State, str], object]
) -> Applied:
    """Remember the context, apply the plan, and enter the state that comes of it.

    What waits for the network or for keys of the cluster is left out, with what comes after that; the state says so.

    Arguments:
        enter: enters a state of the VM for a reason.

    Raises:
        StoreError: the state file cannot be used.
    """
    plan = prepared.plan
    enter(State.CONTEXTUALIZING, f"user-data from {prepared.found.origin}")
    await asyncio.to_thread(store.keep_context, prepared.found, plan.context.digest, _received(prepared))
    if prepared.found.to_blank:
        await _blank(prepared.found, settings)
    applied = await apply(
        prepared.due,
        prepared.system,
        store,
        parallel=settings.contextualize.parallel,
        state_dir=store.path.parent,
    )
    if prepared.waits_for:
        enter(State.CONTEXTUALIZING, f"waiting for {prepared.waits_for}")
    else:
        enter(*_verdict(plan, applied))
    return applied


async def _blank(found: Found, settings: Settings) -> None:
    """Blank what the platform wants blanked; what fails is done at the next boot."""
    try:
        await sources.make(found.source, settings).blank(found.to_blank)
    except SourceError as error:
        log.warning("values of the platform are not blanked yet", source=found.source, reason=str(error))


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
