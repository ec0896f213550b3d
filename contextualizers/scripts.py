"""The scripts of the user-data, and the commands of `bootcmd` and `runcmd`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

from ucvm_agent.contextualize.actions import RunCommand, RunScript
from ucvm_agent.contextualize.base import (
    Action,
    Context,
    Contextualizer,
    Frequency,
    Options,
    Problem,
    Reads,
    Script,
    Stage,
    System,
    remark,
)


def _arguments(value: Any) -> Any:
    if isinstance(value, str):
        return ["/bin/sh", "-c", value]
    if isinstance(value, list) and value and all(isinstance(word, str | int | float) for word in value):
        return [str(word) for word in value]
    colon = "; a text with a colon and a blank in it stands in quotes" if isinstance(value, dict) else ""
    raise ValueError(f"expected a command as text (for /bin/sh), or as a list of a program and its arguments{colon}")


def _no_nul(words: tuple[str, ...]) -> tuple[str, ...]:
    if not words[0].strip() or any("\0" in word for word in words):
        raise ValueError("expected a program, and no NUL characters")
    return words


def _present(value: object) -> object:
    """Take nothing for no command, and one text for one."""
    if value is None:
        return []
    if isinstance(value, str):
        return [value]
    return value


Command = Annotated[tuple[str, ...], BeforeValidator(_arguments), AfterValidator(_no_nul)]
Commands = Annotated[tuple[Command, ...], BeforeValidator(_present)]
"""A text goes to /bin/sh, a list is a program with its arguments."""


class ScriptsBeforeOptions(Options):
    """`bootcmd`: commands for every boot, before all else."""

    bootcmd: Annotated[Commands, Reads("bootcmd")] = ()


class ScriptsBefore(Contextualizer[ScriptsBeforeOptions]):
    """Runs `bootcmd` and the scripts that ask to run before the contextualizers (`#!/bin/sh.before`, boothooks)."""

    name = "scripts_before"
    options = ScriptsBeforeOptions
    before = ("*",)

    def plan(self, options: ScriptsBeforeOptions, context: Context, system: System) -> Iterable[Action]:
        """Yield the commands, then the scripts, each in the order of the user-data."""
        yield from _commands(options.bootcmd, context, Frequency.BOOT)
        yield from _scripts(context, Stage.BEFORE)

    def remarks(self, options: ScriptsBeforeOptions, context: Context, system: System) -> Iterable[Problem]:
        """Warn of words of commands that YAML has changed."""
        return _changed_words("bootcmd", context)


class ScriptsOptions(Options):
    """`runcmd`: commands for each instance, after all else."""

    runcmd: Annotated[Commands, Reads("runcmd")] = ()


class Scripts(Contextualizer[ScriptsOptions]):
    """Runs the other scripts, then `runcmd`, when all other contextualizers are through.

    One that fails does not keep the next from running (references/amiconfig.md, section 5).
    """

    name = "scripts"
    options = ScriptsOptions
    after = ("*",)

    def plan(self, options: ScriptsOptions, context: Context, system: System) -> Iterable[Action]:
        """Yield the scripts, then the commands, each in the order of the user-data."""
        yield from _scripts(context, Stage.AFTER)
        yield from _commands(options.runcmd, context, None)

    def remarks(self, options: ScriptsOptions, context: Context, system: System) -> Iterable[Problem]:
        """Warn of words of commands that YAML has changed."""
        return _changed_words("runcmd", context)


def _commands(commands: Iterable[tuple[str, ...]], context: Context, frequency: Frequency | None) -> Iterable[Action]:
    for argv in commands:
        yield RunCommand(argv=argv, environment=_environment(context), frequency=frequency)


def _changed_words(key: str, context: Context) -> Iterator[Problem]:
    """Yield a warning for each word of a list that is no text in YAML, and reaches the program as another one."""
    entry = context.entry(key)
    for number, command in enumerate(entry.value if entry and isinstance(entry.value, tuple) else ()):
        for position, word in enumerate(command if isinstance(command, tuple) else ()):
            path = (key, number, position)
            if isinstance(word, bool):
                message = f"is a truth value in YAML, so the command gets the word {word}"
                yield remark(context, path, message, "put it in quotes")
            elif isinstance(word, int | float) and context.is_written_otherwise(path, str(word)):
                message = "is a number in YAML, so the command gets it written otherwise"
                yield remark(context, path, message, "put it in quotes")


def _scripts(context: Context, stage: Stage) -> Iterable[Action]:
    for script in context.scripts:
        if script.stage is stage:
            yield _run(script, context)


def _run(script: Script, context: Context) -> Action:
    return RunScript(name=script.name, text=script.text, environment=_environment(context), frequency=script.frequency)


def _environment(context: Context) -> tuple[tuple[str, str], ...]:
    """Return what cloud-init promises to boothooks and commands (references/clouds.md, section 5.2).

    Not an id that is made of the user-data: each change of a line would make another command of every one.
    """
    metadata = context.metadata
    return (("INSTANCE_ID", metadata.instance_id),) if metadata.instance_id and not metadata.derived else ()
