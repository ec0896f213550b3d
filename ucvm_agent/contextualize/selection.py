"""Which contextualizers take part: the user-data and the settings can leave some out.

Every contextualizer takes part by default, so `[amiconfig] plugins` has nothing left to switch on; what it names
is still checked, since its writer expects it to happen. References/amiconfig.md, section 4.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from ucvm_agent.contextualize.base import Contextualizer
from ucvm_agent.contextualize.options import model_keys
from ucvm_agent.userdata.context import Context, Entry, Frozen, Problem, Severity

PLUGINS = "[amiconfig] plugins"
DISABLED_PLUGINS = "[amiconfig] disabled_plugins"
KEYS = (PLUGINS, DISABLED_PLUGINS)
"""The keys of the context that are read here."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The contextualizers that take part, and what the writer of the context should know about the others."""

    contextualizers: tuple[Contextualizer[Any], ...]
    problems: tuple[Problem, ...]


def select(
    context: Context, contextualizers: Sequence[Contextualizer[Any]], disabled: Collection[Contextualizer[Any]]
) -> Selection:
    """Choose from `contextualizers` those that the context leaves in; `disabled` are left out by the settings."""
    everybody = [*contextualizers, *disabled]
    problems = [*_unknown(context, everybody), *_without_effect(context, disabled)]
    entry = context.entry(DISABLED_PLUGINS)
    unwanted = set(_names(entry))
    selected = []
    for contextualizer in contextualizers:
        if entry and unwanted & _stands_for(contextualizer):
            message = f"the contextualizer {contextualizer.name} is left out, as {DISABLED_PLUGINS} says"
            problems.append(Problem(Severity.NOTE, entry.place, message))
        else:
            selected.append(contextualizer)
    return Selection(tuple(selected), tuple(problems))


def _unknown(context: Context, contextualizers: Collection[Contextualizer[Any]]) -> Iterator[Problem]:
    """Warn of plugins that nobody stands for."""
    known = set().union(*(_stands_for(each) for each in contextualizers))
    for key in KEYS:
        entry = context.entry(key)
        for name in _names(entry):
            if entry and name not in known:
                near = get_close_matches(name, sorted(known), 1)
                hint = f"did you mean {near[0]}?" if near else "it has no effect"
                yield Problem(Severity.WARNING, entry.place, f"{key}: nothing here stands for the plugin {name}", hint)


def _without_effect(context: Context, disabled: Collection[Contextualizer[Any]]) -> Iterator[Problem]:
    """Tell which keys mean something, but not on this machine."""
    for contextualizer in disabled:
        for key in model_keys(contextualizer.name, contextualizer.options):
            if entry := context.entry(key):
                message = f"{key} has no effect: the settings disable the contextualizer {contextualizer.name}"
                yield Problem(Severity.NOTE, entry.place, message)


def _names(entry: Entry | None) -> list[str]:
    """Return the plugins that an entry lists: a list, or words between blanks or commas, in any case."""
    if entry is None:
        return []
    values: tuple[Frozen, ...] = entry.value if isinstance(entry.value, tuple) else (entry.value,)
    words = [word.lower() for value in values for word in re.split(r"[\s,]+", str(value or "")) if word]
    return list(dict.fromkeys(words))


def _stands_for(contextualizer: Contextualizer[Any]) -> set[str]:
    return {name.lower() for name in (contextualizer.name, *contextualizer.amiconfig)}
