"""In which order things are done: contextualizers among each other, and the actions of a plan."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any, TypeVar

from ucvm_agent.contextualize.actions import Action, Resource
from ucvm_agent.contextualize.base import Contextualizer
from ucvm_agent.contextualize.system import System
from ucvm_agent.errors import PlanError

N = TypeVar("N", str, int)

EVERYBODY = "*"
"""In `after` and `before`: all other contextualizers."""


def order_contextualizers(contextualizers: Sequence[Contextualizer[Any]]) -> dict[str, frozenset[str]]:
    """Return the names in an order that fulfils every `after` and `before`, each with all that come before it.

    Names that are not ordered otherwise come in the order of the alphabet, so that the result depends on nothing
    but the declarations. Unknown names in `after` and `before` are ignored. `*` stands for all that are not ordered
    to the contrary by their names, and that do not say the same of themselves.

    Raises:
        PlanError: the declarations contradict each other; the message names the cycle.
    """
    earlier: dict[str, set[str]] = {contextualizer.name: set() for contextualizer in contextualizers}
    for contextualizer in sorted(contextualizers, key=lambda each: each.name):
        earlier[contextualizer.name].update(name for name in contextualizer.after if name in earlier)
        for name in contextualizer.before:
            if name in earlier:
                earlier[name].add(contextualizer.name)
    _add_everybody(earlier, contextualizers)
    ordered: dict[str, frozenset[str]] = {}
    for name in linearize(earlier):
        ordered[name] = frozenset(earlier[name]).union(*(ordered[each] for each in earlier[name]))
    return ordered


def _add_everybody(earlier: dict[str, set[str]], contextualizers: Sequence[Contextualizer[Any]]) -> None:
    """Put what declares `after` or `before` everybody behind or in front of all that names do not order otherwise."""
    last = {each.name for each in contextualizers if EVERYBODY in each.after}
    first = {each.name for each in contextualizers if EVERYBODY in each.before}
    middle = earlier.keys() - first - last
    named = {name: _all_before(name, earlier) for name in earlier}
    for name in sorted(first):
        for other in (middle | last) - named[name]:
            earlier[other].add(name)
    for name in sorted(last):
        earlier[name].update(other for other in middle | first if name not in named[other])


def _all_before(name: str, earlier: Mapping[str, Set[str]]) -> set[str]:
    """Return all that come before `name`, directly or through others."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        new = earlier[waiting.pop()] - found
        found |= new
        waiting += new
    return found


def linearize(earlier: Mapping[N, Set[N]]) -> Iterator[N]:
    """Yield each node after all that are `earlier` than it; of those that may come next, the least one.

    Raises:
        PlanError: there is a cycle; the message names it.
    """
    sorter = TopologicalSorter({node: sorted(earlier[node]) for node in sorted(earlier)})
    try:
        sorter.prepare()
    except CycleError as error:
        raise PlanError(
            f"these have to come before each other: {_cycle(error.args[1])}",
            hint="remove one of the names from the `after` or `before` of a contextualizer, or disable one of them",
        ) from None
    ready = list(sorter.get_ready())
    heapq.heapify(ready)
    while ready:
        node = heapq.heappop(ready)
        yield node
        sorter.done(node)
        for each in sorter.get_ready():
            heapq.heappush(ready, each)


def _cycle(nodes: Sequence[object]) -> str:
    names = [str(node) for node in nodes[:-1]]
    first = names.index(min(names))
    return " before ".join([*names[first:], *names[:first], names[first]])


@dataclass(frozen=True, slots=True)
class Slot:
    """The place of one action in the order of a plan.

    Arguments:
        number: the action's position in the sequence that was given.
        waits_for: positions in the *resulting* sequence of what has to end first, well or badly.
        needs: those of them without which the action cannot be done.
    """

    number: int
    waits_for: tuple[int, ...]
    needs: tuple[int, ...]


@dataclass(slots=True)
class _Edges:
    """What each action waits for and needs, while it is being found out."""

    waits: list[set[int]]
    needs: list[set[int]] = field(init=False)

    def __post_init__(self) -> None:
        self.needs = [set() for _ in self.waits]

    def comes_after(self, later: int, earlier: int) -> bool:
        """Say whether `later` already waits for `earlier`, directly or through others."""
        seen: set[int] = set()
        waiting = [later]
        while waiting:
            number = waiting.pop()
            if number == earlier:
                return True
            if number not in seen:
                seen.add(number)
                waiting.extend(self.waits[number])
        return False


def order_actions(
    actions: Sequence[Action], owners: Sequence[str], earlier: Mapping[str, Set[str]], system: System
) -> list[Slot]:
    """Arrange the actions, each of the contextualizer at the same position in `owners`.

    Given are the actions in the order of their contextualizers, and for each contextualizer which others come
    before it. The result is an order in which the actions could be done one by one, with what they really have
    to wait for: the one before of the same contextualizer, the last of each earlier contextualizer, those that
    provide what they require, and those that act on the same thing.

    A requirement never turns around an order that is declared: it is then, like one that nothing in the plan
    provides, the system's business.
    """
    edges = _Edges(_declared(owners, earlier))
    makers: dict[Resource, list[int]] = defaultdict(list)
    for number, action in enumerate(actions):
        for resource in action.provides():
            makers[resource].append(number)
    _add_requirements(edges, actions, makers, {resource for resource in makers if _exists(resource, system)})
    order = list(linearize(dict(enumerate(edges.waits))))
    _add_shared_targets(edges, actions, order)
    position = {number: index for index, number in enumerate(order)}
    return [
        Slot(
            number,
            tuple(sorted(position[each] for each in edges.waits[number])),
            tuple(sorted(position[each] for each in edges.needs[number])),
        )
        for number in order
    ]


def _declared(owners: Sequence[str], earlier: Mapping[str, Set[str]]) -> list[set[int]]:
    last: dict[str, int] = {}
    waits: list[set[int]] = []
    for number, owner in enumerate(owners):
        waits.append({last[owner]} if owner in last else {last[name] for name in earlier[owner] if name in last})
        last[owner] = number
    return waits


def _add_requirements(
    edges: _Edges, actions: Sequence[Action], makers: Mapping[Resource, Sequence[int]], there: Set[Resource]
) -> None:
    turned: list[tuple[int, int, bool]] = []
    for number, action in enumerate(actions):
        for resource in sorted(action.requires()):
            others = [each for each in makers.get(resource, ()) if each != number]
            essential = resource not in there
            before = [each for each in others if each < number]
            edges.waits[number].update(before)
            if essential:
                edges.needs[number].update(before)
            if not before:
                turned += [(number, each, essential) for each in others]
    # Only what goes against the order so far can close a circle, so all the rest has to be there first.
    for number, maker, essential in turned:
        if not edges.comes_after(maker, number):
            edges.waits[number].add(maker)
            if essential:
                edges.needs[number].add(maker)


def _exists(resource: Resource, system: System) -> bool:
    """Say whether an account is there anyway: if root cannot get a password, root's files are written all the same."""
    if resource.kind == "user":
        return system.user(resource.name) is not None
    return resource.kind == "group" and system.group(resource.name) is not None


def _add_shared_targets(edges: _Edges, actions: Sequence[Action], order: Sequence[int]) -> None:
    last: dict[Resource, int] = {}
    for number in order:
        action = actions[number]
        for thing in {Resource(f"{action.kind} action", action.target), *action.provides()}:
            if thing in last:
                edges.waits[number].add(last[thing])
            last[thing] = number
