"""Carries out a plan: every action once in its scope, whatever interrupts it.

The journal in the store is what makes that so. `started` is on the disk before an action begins, `done` or `failed`
after it has ended, in one transaction with the event that reports it. After a crash, an action that is only
`started` is done again: it finds by itself how far it had come.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum, auto
from pathlib import Path

import structlog

from ucvm_agent.contextualize.actions import Action, Effect
from ucvm_agent.contextualize.actions.run import SCRIPTS
from ucvm_agent.contextualize.effects import change_of, paths_of, scopes_of
from ucvm_agent.contextualize.plan import Plan, Step
from ucvm_agent.contextualize.records import forget, prune
from ucvm_agent.contextualize.redaction import describe, trace
from ucvm_agent.contextualize.secrets import Secrets
from ucvm_agent.contextualize.system import System
from ucvm_agent.contextualize.target import Target
from ucvm_agent.errors import ActionError
from ucvm_agent.events import ActionEnded, Contextualized
from ucvm_agent.store.journal import JournalEntry
from ucvm_agent.store.store import Store

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Failure:
    """An action that failed, and why; `seconds` is how long it was tried."""

    contextualizer: str
    kind: str
    target: str
    reason: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Applied:
    """How a plan ended: numbers of actions, what failed in the order in which it did, and seconds in all."""

    changed: int
    unchanged: int
    failed: int
    skipped: int
    failures: tuple[Failure, ...]
    seconds: float


class Result(StrEnum):
    """How one step ended; each is counted in `Applied` under its own name."""

    CHANGED = auto()
    UNCHANGED = auto()
    FAILED = auto()
    SKIPPED = auto()


async def apply(plan: Plan, system: System, store: Store, *, parallel: int, state_dir: Path) -> Applied:
    """Carry out a plan; actions that do not wait for each other are done at the same time.

    What the journal knows as done in its scope is not touched again, so that what people changed since then
    stays. What failed, or was interrupted, is tried again. A failed action ends nothing but those that need it.

    Cancellation stops waiting for the running actions, and leaves them `started` in the journal.

    Arguments:
        parallel: most actions at the same time.
        state_dir: real path of the state's folder; commands keep their records in `runs` beneath it.

    Raises:
        StoreError: the journal cannot be written, so nothing more may be done.
    """
    begun = time.monotonic()
    run = await asyncio.to_thread(_Run, plan, system, store, state_dir / "runs", parallel)
    try:
        async with asyncio.TaskGroup() as group:
            for number in range(len(plan.steps)):
                group.create_task(run.do(number))
    except ExceptionGroup as errors:
        # Actions' own errors are results, so only the store's get here, and one of them tells it all.
        raise errors.exceptions[0] from errors
    return await run.finish(time.monotonic() - begun)


def _make_private(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)


class _Run:
    """A plan on its way; making it reads the journal, which blocks."""

    def __init__(self, plan: Plan, system: System, store: Store, runs: Path, parallel: int) -> None:
        _make_private(runs)
        self.plan = plan
        self.system = system
        self.store = store
        self.runs = runs
        self.scopes = scopes_of(plan.context, store)
        # At once, since each hop to a thread takes as long as ten such questions.
        self.known = [store.journal(step.key, self.scopes[step.frequency]) for step in plan.steps]
        self.secrets = Secrets(plan.context.metadata.region)
        self.slots = asyncio.Semaphore(parallel)
        self.ended = [asyncio.Event() for _ in plan.steps]
        self.results: dict[int, Result] = {}
        self.culprits: dict[int, Step] = {}
        self.changed: set[str] = set()
        self.failures: list[Failure] = []
        self.settled: list[tuple[str, str]] = []

    async def do(self, number: int) -> None:
        """Bring a step to its end, once those that it waits for have come to theirs."""
        step = self.plan.steps[number]
        for each in step.waits_for:
            await self.ended[each].wait()
        known = self.known[number]
        culprit = next((self.culprits[each] for each in step.needs if each in self.culprits), None)
        if known and known.outcome == "done":
            result = self._leave(step, known)
        elif culprit:
            result = await self._skip(step, culprit)
        else:
            async with self.slots:
                result = await self._carry_out(step, known)
        if result in (Result.FAILED, Result.SKIPPED):
            self.culprits[number] = culprit or step
        self.results[number] = result
        self.ended[number].set()

    async def finish(self, seconds: float) -> Applied:
        """Report the end of the plan."""
        results = list(self.results.values())
        counts = {result.value: results.count(result) for result in Result}
        digest = self.plan.context.digest
        await asyncio.to_thread(self.store.adopt, self.settled, digest)
        await asyncio.to_thread(self._tidy_up)
        event = Contextualized(digest=digest, **counts, seconds=round(seconds, 3))
        await asyncio.to_thread(self.store.events.emit, event)
        return Applied(**counts, failures=tuple(self.failures), seconds=seconds)

    def _tidy_up(self) -> None:
        """Remove what commands of earlier contexts left, but not the results of those that were interrupted."""
        kept = {step.key for step in self.plan.steps} | self.plan.left_out | self.store.interrupted()
        try:
            for folder in (self.runs, self.system.files.real(SCRIPTS)):
                prune(folder, kept)
        except (OSError, ActionError) as error:
            log.warning("records of earlier commands cannot be removed", reason=str(error))

    # How a step can end

    def _leave(self, step: Step, known: JournalEntry) -> Result:
        if known.effect != Effect.NONE:
            # A restart that a crash kept from following this change has still to follow it.
            self.changed |= paths_of(step.action)
        self.settled.append((known.key, known.scope))
        return Result.UNCHANGED

    async def _skip(self, step: Step, culprit: Step) -> Result:
        reason = f"it needs {culprit.action.kind} {culprit.action.target} of {culprit.contextualizer}, which failed"
        entry = replace(self._entry(step), outcome="skipped", reason=reason)
        await self._record(entry, ActionEnded(**_names(step), result="skipped", reason=reason))
        log.warning("action skipped", **_names(step), reason=reason)
        return Result.SKIPPED

    async def _carry_out(self, step: Step, known: JournalEntry | None) -> Result:
        begun = time.monotonic()
        entry = self._entry(step)
        interrupted = known is not None and known.outcome == "started"
        try:
            with _explained(step):
                change = await asyncio.to_thread(change_of, step.action, self.system, self.changed)
            if change.effect is Effect.NONE and not interrupted:
                await self._record(replace(entry, outcome="done", effect=Effect.NONE))
                return Result.UNCHANGED
            if change.effect is Effect.NONE and known:
                # It had been done, and the crash came before this could be written down.
                entry = replace(entry, effect=known.effect)
            else:
                entry = replace(entry, effect=change.effect)
                await self._start(step, entry, interrupted=interrupted)
        except ActionError as error:
            return await self._fail(step, entry, error, time.monotonic() - begun)
        self.changed |= paths_of(step.action)
        return await self._succeed(step, entry, time.monotonic() - begun)

    async def _start(self, step: Step, entry: JournalEntry, *, interrupted: bool) -> None:
        if not interrupted:
            # Only an interrupted run goes on; what failed, and what was run in other scopes, begins anew.
            await asyncio.to_thread(forget, self.runs, step.key)
        await self._record(entry)
        with _explained(step):
            await step.action.apply(self._target(step))

    def _target(self, step: Step) -> Target:
        return Target(self.system, self.runs, self._run_key(step), self.changed, self.secrets)

    def _run_key(self, step: Step) -> str:
        scope = hashlib.sha256(self.scopes[step.frequency].encode()).hexdigest()
        return f"{step.key}-{scope[:16]}"

    async def _succeed(self, step: Step, entry: JournalEntry, seconds: float) -> Result:
        seconds = round(seconds, 3)
        event = ActionEnded(**_names(step), result="done", effect=entry.effect, seconds=seconds)
        await self._record(replace(entry, outcome="done"), event)
        log.info("action done", **_names(step), effect=entry.effect, seconds=seconds)
        return Result.CHANGED

    async def _fail(self, step: Step, entry: JournalEntry, error: ActionError, seconds: float) -> Result:
        seconds = round(seconds, 3)
        reason = str(error)
        event = ActionEnded(**_names(step), result="failed", effect=entry.effect, reason=reason, seconds=seconds)
        await self._record(replace(entry, outcome="failed", reason=reason), event)
        self.failures.append(Failure(step.contextualizer, step.action.kind, step.action.target, reason, seconds))
        log.warning("action failed", **_names(step), reason=error.message, where=error.where, hint=error.hint)
        return Result.FAILED

    # The journal

    def _entry(self, step: Step) -> JournalEntry:
        scope = self.scopes[step.frequency]
        action = step.action
        return JournalEntry(step.key, scope, step.contextualizer, action.kind, action.target, "started")

    async def _record(self, entry: JournalEntry, event: ActionEnded | None = None) -> None:
        writing = asyncio.create_task(
            asyncio.to_thread(self.store.record, entry, self.plan.context.digest, event), name="journal"
        )
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            # What has been done is written down, even when the daemon is told to stop this very moment.
            await writing
            raise


def _names(step: Step) -> dict[str, str]:
    return {"contextualizer": step.contextualizer, "action": step.action.kind, "target": step.action.target}


@contextmanager
def _explained(step: Step) -> Iterator[None]:
    """Turn whatever the code of an action raises into an `ActionError` without secrets."""
    try:
        yield
    except ActionError:
        raise
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise ActionError("it was cancelled from within") from None
    except Exception as error:  # an action may be a third party's
        kind = type(error).__name__
        log.debug("action raised", **_names(step), error=kind, trace=trace(error))
        reason = kind if _is_sensitive(step.action) else f"{kind}: {describe(error, step.action)}"
        raise ActionError(reason, hint="this is a defect in the action; the debug log tells where") from error


def _is_sensitive(action: Action) -> bool:
    return bool(getattr(action, "sensitive", False))
