"""From a context to a plan: who is asked, what they want done, and in which order. Changes nothing.

The dry run shows a plan and the real run applies it: there is no other way to either.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import structlog

from ucvm_agent.contextualize.actions import Action
from ucvm_agent.contextualize.base import Contextualizer, Refusal, SecretReference
from ucvm_agent.contextualize.missing import missing
from ucvm_agent.contextualize.options import Options, model_keys, read_options, remark, unread
from ucvm_agent.contextualize.order import order_actions, order_contextualizers
from ucvm_agent.contextualize.redaction import describe, trace
from ucvm_agent.contextualize.selection import KEYS, select
from ucvm_agent.contextualize.system import System
from ucvm_agent.userdata.context import Context, Frequency, Place, Problem, Severity

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Step:
    """One action in its place in a plan.

    Arguments:
        contextualizer: the name of the one that wants it.
        frequency: how often it is done.
        key: by which the journal knows it again, in the next run and for the next context.
        waits_for: positions in the plan of what has to end first, well or badly.
        needs: those of them without which this cannot be done.
        early: whether it can be done before there is a network.
    """

    contextualizer: str
    action: Action
    frequency: Frequency
    key: str
    waits_for: tuple[int, ...] = ()
    needs: tuple[int, ...] = ()
    early: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a context means for a system.

    Arguments:
        steps: in an order in which they could be done one by one: each waits only for ones before it.
        problems: those of the context and those found since, in the order of the text.
        left_out: keys of steps that are not done yet, see `without`.
    """

    context: Context
    steps: tuple[Step, ...]
    problems: tuple[Problem, ...]
    left_out: frozenset[str] = frozenset()

    def without(self, unwanted: Callable[[Step], bool]) -> Plan:
        """Leave out some steps, and all that is to come after them."""
        out: set[int] = set()
        for number, step in enumerate(self.steps):
            if unwanted(step) or not out.isdisjoint((*step.waits_for, *step.needs)):
                out.add(number)
        numbers = {old: new for new, old in enumerate(sorted(set(range(len(self.steps))) - out))}
        steps = tuple(
            replace(
                self.steps[old],
                waits_for=tuple(numbers[each] for each in self.steps[old].waits_for),
                needs=tuple(numbers[each] for each in self.steps[old].needs),
            )
            for old in numbers
        )
        return replace(self, steps=steps, left_out=self.left_out | {self.steps[old].key for old in out})


def make_plan(
    context: Context,
    system: System,
    contextualizers: Sequence[Contextualizer[Any]],
    problems: Iterable[Problem] = (),
    *,
    disabled: Sequence[Contextualizer[Any]] = (),
) -> Plan:
    """Ask every contextualizer what the context means, and put what they answer in order.

    The result depends on the arguments only. A contextualizer that fails takes nothing with it but the actions
    that it did not yield any more.

    Arguments:
        problems: found before, and to be shown with the others (`registry.Loaded.problems`).
        disabled: left out by the settings: what they read is no mistake in the context.

    Raises:
        PlanError: the contextualizers' orderings contradict each other.
    """
    earlier = order_contextualizers(contextualizers)
    by_name = {contextualizer.name: contextualizer for contextualizer in contextualizers}
    selection = select(context, [by_name[name] for name in earlier], disabled)
    found = [*problems, *context.problems, *selection.problems]
    wanted: list[tuple[Contextualizer[Any], Action]] = []
    for contextualizer in selection.contextualizers:
        actions, more = _ask(contextualizer, selection.context, system)
        wanted += [(contextualizer, action) for action in actions]
        found += more
    found += missing(context, wanted, system)
    known = (key for each in (*contextualizers, *disabled) for key in model_keys(each.name, each.options))
    found += unread(context, [*KEYS, *known])
    return Plan(context, _arrange(wanted, earlier, system), _in_order(context, found))


def _ask(contextualizer: Contextualizer[Any], context: Context, system: System) -> tuple[list[Action], list[Problem]]:
    """Return what a contextualizer wants done, as far as it came, and what is wrong."""
    name = contextualizer.name
    options, problems = read_options(name, contextualizer.options, context)
    actions: list[Action] = []
    if options is None:
        return actions, problems
    try:
        problems += contextualizer.remarks(options, context, system)
        for action in contextualizer.plan(options, context, system):
            if not isinstance(action, Action):
                raise TypeError(f"{type(action).__name__} is no action")
            actions.append(action)
    except Refusal as refusal:
        problems.append(remark(context, refusal.key, refusal.message, refusal.hint, Severity.ERROR))
    except ValueError as error:
        message = f"{name}: {describe(error, options)}"
        problems.append(Problem(Severity.ERROR, _first_place(contextualizer, context), message))
    except Exception as error:  # a third party's code may raise anything
        kind = type(error).__name__
        log.debug("contextualizer failed", contextualizer=name, error=kind, trace=trace(error))
        message = f"the contextualizer {name} failed: {kind}"
        hint = "this is a defect in the contextualizer, not in the user-data; the debug log tells where"
        problems.append(Problem(Severity.ERROR, _first_place(contextualizer, context), message, hint))
    return actions, problems


def _first_place(contextualizer: Contextualizer[Options], context: Context) -> Place:
    """Return where the first of the keys that a contextualizer reads was written."""
    entries = [context.entry(key) for key in model_keys(contextualizer.name, contextualizer.options)]
    return min((entry.place for entry in entries if entry), default=context.place(()))


def _arrange(
    wanted: Sequence[tuple[Contextualizer[Any], Action]], earlier: dict[str, frozenset[str]], system: System
) -> tuple[Step, ...]:
    owners = [contextualizer.name for contextualizer, _ in wanted]
    actions = [action for _, action in wanted]
    keys = _keys(owners, actions)
    return tuple(
        Step(
            contextualizer=owners[slot.number],
            action=actions[slot.number],
            frequency=actions[slot.number].frequency or wanted[slot.number][0].frequency,
            key=keys[slot.number],
            waits_for=slot.waits_for,
            needs=slot.needs,
            early=wanted[slot.number][0].early and not _needs_secret(actions[slot.number]),
        )
        for slot in order_actions(actions, owners, earlier, system)
    )


def _needs_secret(action: Action) -> bool:
    """Whether something of it is kept elsewhere, and has to be fetched."""
    return any(isinstance(getattr(action, each.name), SecretReference) for each in fields(action))


def _keys(owners: Sequence[str], actions: Sequence[Action]) -> list[str]:
    """Return a key for each action: the same as long as it is the same action of the same contextualizer.

    What follows others is another one when they are: a new version of a file restarts its unit again.
    """
    digests = [action.digest() for action in actions]
    count: Counter[tuple[str, ...]] = Counter()
    keys = []
    for owner, action, digest in zip(owners, actions, digests, strict=True):
        identity = [owner, digest]
        if action.causes:
            identity += [each for each, other in zip(digests, actions, strict=True) if other.provides() & action.causes]
        keys.append(hashlib.sha256("\0".join([*identity, str(count[*identity])]).encode()).hexdigest())
        count[*identity] += 1
    return keys


def _in_order(context: Context, problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Sort problems as their places follow each other in the user-data, each once; those of no part of it first."""
    parts = {part.name: number for number, part in enumerate(context.parts)}
    return tuple(
        sorted(
            dict.fromkeys(problems),
            key=lambda problem: (parts.get(problem.place.part, -1), problem.place.line, problem.place.column),
        )
    )
