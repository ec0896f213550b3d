"""Which contextualizers take part: the user-data and the settings can leave some out.

Every contextualizer takes part by default, so `[amiconfig] plugins` has nothing left to switch on; what it names
is still checked, since its writer expects it to happen. What `disabled_plugins` names is left out: the
contextualizer of that name or plugin, and the plugin's section. References/amiconfig.md, section 4.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from ucvm_agent.contextualize.base import Contextualizer
from ucvm_agent.contextualize.options import model_keys
from ucvm_agent.contextualize.unsupported import without_effect
from ucvm_agent.nearest import suggest
from ucvm_agent.userdata.context import Context, Entry, Frozen, Problem, Severity, parse_key

PLUGINS = "[amiconfig] plugins"
DISABLED_PLUGINS = "[amiconfig] disabled_plugins"
KEYS = (PLUGINS, DISABLED_PLUGINS)
"""The keys of the context that are read here."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The contextualizers that take part, and what the writer of the context should know about the others.

    Arguments:
        context: the context without the sections of plugins that it disables itself.
    """

    contextualizers: tuple[Contextualizer[Any], ...]
    context: Context
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
    sections = [section for name in unwanted if (section := f"[{name}]") in context.values]
    for section in sections:
        message = f"the section {section} is left out, as {DISABLED_PLUGINS} says"
        problems.append(Problem(Severity.NOTE, context.place((section,)), message))
    values = {key: value for key, value in context.values.items() if key not in sections}
    return Selection(tuple(selected), replace(context, values=MappingProxyType(values)), tuple(problems))


def _unknown(context: Context, contextualizers: Collection[Contextualizer[Any]]) -> Iterator[Problem]:
    """Warn of plugins that nobody stands for."""
    known = set().union(*(_stands_for(each) | _sections(each) for each in contextualizers))
    for key in KEYS:
        entry = context.entry(key)
        for name in _names(entry):
            reason = without_effect(f"[{name}]")
            if entry is None or name in known or (reason is not None and key == DISABLED_PLUGINS):
                continue
            hint = (suggest(name, known) if reason is None else reason) or "it has no effect"
            what = "nothing here stands for the plugin" if reason is None else "this agent does not support the plugin"
            yield Problem(Severity.WARNING, entry.place, f"{key}: {what} {name}", hint)


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


def _sections(contextualizer: Contextualizer[Any]) -> set[str]:
    """Return the names of the sections that a contextualizer reads options from."""
    steps = (str(parse_key(key)[0]) for key in model_keys(contextualizer.name, contextualizer.options))
    return {step.strip("[]") for step in steps if step.startswith("[")}


def _stands_for(contextualizer: Contextualizer[Any]) -> set[str]:
    return {name.lower() for name in (contextualizer.name, *contextualizer.amiconfig)}
