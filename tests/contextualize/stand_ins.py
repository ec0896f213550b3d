"""Small actions and contextualizers for tests of what is done with them, whatever they are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ucvm_agent.contextualize.actions import Action, Change, Effect, Resource
from ucvm_agent.contextualize.base import Context, Contextualizer, Frequency, Options, System
from ucvm_agent.contextualize.target import Target
from ucvm_agent.errors import ActionError
from ucvm_agent.userdata.context import Path, Place, freeze


@dataclass(frozen=True, kw_only=True)
class Deed(Action):
    """Does what a test says: calls `does`, and takes up with `gives` and `takes` whatever resources it names."""

    kind: ClassVar[str] = "deed"
    name: str
    gives: frozenset[Resource] = frozenset()
    takes: frozenset[Resource] = frozenset()
    effect: Effect = Effect.RUN
    does: Callable[[Target], Any] | None = field(default=None, compare=False)

    @property
    def target(self) -> str:
        return self.name

    def provides(self) -> frozenset[Resource]:
        return self.gives

    def requires(self) -> frozenset[Resource]:
        return self.takes

    def preview(self, system: System) -> Change:
        return Change(self.effect, f"do {self.name}")

    async def apply(self, target: Target) -> None:
        if self.does and asyncio.iscoroutine(done := self.does(target)):
            await done

    def digest(self) -> str:
        return f"deed {self.name}"


def fail(reason: str = "no luck") -> Callable[[Target], None]:
    """Return something for `Deed.does` that fails as actions do."""

    def does(target: Target) -> None:
        raise ActionError(reason, hint="try it with more luck")

    return does


def named(kind: str, *names: str) -> frozenset[Resource]:
    """Return resources of one kind."""
    return frozenset(Resource(kind, name) for name in names)


class NoOptions(Options):
    """Reads nothing."""


def contextualizer(
    name: str,
    actions: Iterable[object] | Callable[[], Iterable[object]] = (),
    *,
    after: Sequence[str] = (),
    before: Sequence[str] = (),
    frequency: Frequency = Frequency.INSTANCE,
    amiconfig: Sequence[str] = (),
    options: type[Options] = NoOptions,
) -> Contextualizer[Any]:
    """Return a contextualizer that wants these actions, whatever the context says."""

    def plan(self: Any, options: Any, context: Context, system: System) -> Iterable[object]:
        return actions() if callable(actions) else actions

    attributes = {
        "name": name,
        "options": options,
        "after": tuple(after),
        "before": tuple(before),
        "frequency": frequency,
        "amiconfig": tuple(amiconfig),
        "plan": plan,
    }
    made: Contextualizer[Any] = type(name, (Contextualizer,), attributes)()
    return made


def written(values: dict[str, Any], places: dict[Path, tuple[int, int]] | None = None, **fields: Any) -> Context:
    """Return a context of one part with these values, at these lines and columns."""
    frozen = freeze(values)
    assert isinstance(frozen, Mapping)
    return Context(
        digest="0123456789abcdef",
        values=frozen,
        places={path: Place("user-data", *place) for path, place in (places or {}).items()},
        **fields,
    )
