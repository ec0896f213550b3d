"""What actions need of the system that is neither there nor made by the same plan.

A note and no error: packages or CernVM-FS may bring it before its turn comes, and a dry run may look at another system
than the one that it is for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ucvm_agent.contextualize.actions import Action, EnsureUser, Resource, RunScript
from ucvm_agent.contextualize.actions.owned_path import OwnedPath
from ucvm_agent.contextualize.actions.run import parse_interpreter
from ucvm_agent.contextualize.base import Contextualizer
from ucvm_agent.contextualize.options import model_keys
from ucvm_agent.contextualize.system import System
from ucvm_agent.userdata.context import Context, Place, Problem, Severity

_HINT = "it has to be there when it is needed"


def missing(
    context: Context, wanted: Sequence[tuple[Contextualizer[Any], Action]], system: System
) -> Iterator[Problem]:
    """Yield a note for each interpreter, login shell, owner and group that is missing.

    Nothing is said of accounts beneath a root that has none, nor of programs where there is no shell: a system
    has yet to come there.

    Arguments:
        wanted: all actions of a plan, each with who wants it.
    """
    made = {resource for _, action in wanted for resource in action.provides()}
    accounts, programs = system.user("root") is not None, system.program("/bin/sh") is not None
    for contextualizer, action in wanted:
        if isinstance(action, OwnedPath) and accounts:
            place = _place(contextualizer, context, ("path", action.path), "owner")
            if not (Resource("user", action.owner) in made or system.user(action.owner)):
                yield Problem(Severity.NOTE, place, f"{action.path}: there is no user {action.owner} here", _HINT)
            if not (Resource("group", action.group) in made or system.group(action.group)):
                yield Problem(Severity.NOTE, place, f"{action.path}: there is no group {action.group} here", _HINT)
        if isinstance(action, RunScript) and programs:
            program = parse_interpreter(action.text)[0]
            found = program.startswith("/") and system.program(program)
            if not (Resource("path", program) in made or found):
                places = (script.place for script in context.scripts if script.name == action.name)
                message = f"{action.name}: its interpreter {program} does not exist here"
                yield Problem(Severity.NOTE, next(places, context.place(())), message, _HINT)
        if isinstance(action, EnsureUser) and programs and _lets_in(action.shell):
            place = _place(contextualizer, context, ("name", action.name), "shell")
            if not (Resource("path", action.shell) in made or system.program(action.shell)):
                yield Problem(
                    Severity.NOTE, place, f"{action.name}: the shell {action.shell} does not exist here", _HINT
                )


def _lets_in(shell: str) -> bool:
    """Whether a user of this shell is to log in; without one it is the system's own."""
    return shell != "" and not shell.endswith(("/nologin", "/false"))


def _place(contextualizer: Contextualizer[Any], context: Context, thing: tuple[str, str], wanted: str) -> Place:
    """Return where a key was written in a list of things; else where the contextualizer was told.

    Arguments:
        thing: the key by which the things are told apart, and its value.
        wanted: the key that is looked for.
    """
    place = context.place(())
    for key in model_keys(contextualizer.name, contextualizer.options):
        if (entry := context.entry(key)) is None:
            continue
        place = entry.place
        for number, item in enumerate(entry.value if isinstance(entry.value, tuple) else ()):
            if isinstance(item, Mapping) and item.get(thing[0]) == thing[1] and wanted in item:
                return context.place((*entry.path, number, wanted))
    return place
