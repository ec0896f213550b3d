"""Commands and scripts.

They run under a supervisor that outlives the agent (`runs.py`), so that killing the agent at any instant
neither stops one nor runs it twice. Only a power cut while it runs makes it run again, since nobody can know
how far it came.
"""

from __future__ import annotations

import asyncio
import os
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ucvm_agent.contextualize.actions.attributes import demand_path, path_resource
from ucvm_agent.contextualize.actions.base import Action, Change, Effect, Resource
from ucvm_agent.contextualize.system import ENVIRONMENT
from ucvm_agent.errors import ActionError
from ucvm_agent.userdata.masking import mask_text

if TYPE_CHECKING:
    from ucvm_agent.contextualize.actions.runs import Ending
    from ucvm_agent.contextualize.system import System
    from ucvm_agent.contextualize.target import Target

SCRIPTS = "/run/ucvm-agent/scripts"
"""Folder (0700) beneath the root that holds a script while it runs."""

_INTERPRETER_LINE = 256  # BINPRM_BUF_SIZE of the kernel


@dataclass(frozen=True, kw_only=True)
class RunCommand(Action):
    """Run a program with its arguments, as root, exactly once per its frequency.

    Arguments:
        argv: never passed through a shell; a contextualizer that wants one says `("/bin/sh", "-c", text)`.
        timeout: seconds; then its whole session is killed and the action has failed.
        sensitive: show the program only, not its arguments.
        environment: variables beside PATH, HOME, LANG.
        because: paths of this plan; run only if one of them was changed in this run, and again for each other
            version of them.

    Raises:
        ValueError: there is no program, or a NUL in it, or `because` names no path.
    """

    kind: ClassVar[str] = "command"
    argv: tuple[str, ...] = field(repr=False)
    timeout: float = 3600.0
    sensitive: bool = False
    environment: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    because: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.argv or not self.argv[0]:
            raise ValueError("a command needs a program")
        if any("\0" in argument for argument in self.argv):
            raise ValueError("a command cannot hold a NUL character")
        _check_environment(self.environment)
        for path in self.because:
            demand_path(path)

    @cached_property
    def target(self) -> str:
        """The command line, for people: what looks like a secret is masked."""
        return f"{self.argv[0]} …" if self.sensitive and self.argv[1:] else mask_text(shlex.join(self.argv))

    @property
    def causes(self) -> frozenset[Resource]:
        """See `Action.causes`: the paths."""
        return frozenset(path_resource(path) for path in self.because)

    def requires(self) -> frozenset[Resource]:
        """See `Action.requires`: the paths that it waits for, and the program if it is given by its path."""
        return self.causes | ({Resource("path", self.argv[0])} if self.argv[0].startswith("/") else set())

    def preview(self, system: System) -> Change:
        """See `Action.preview`."""
        return Change(Effect.RUN, f"run {self.target}")

    async def apply(self, target: Target) -> None:
        """See `Action.apply`; cancellation leaves the command running, and the next call takes its result."""
        await _run(self, self.argv, target, lambda ending: f"{self.argv[0]} {ending}", show=not self.sensitive)


@dataclass(frozen=True, kw_only=True)
class RunScript(Action):
    """Run a script by its interpreter line, as root, exactly once per its frequency.

    Arguments:
        name: for people and for the log file.
        timeout: seconds, as in `RunCommand`.

    Raises:
        ValueError: the script has no interpreter line.
    """

    kind: ClassVar[str] = "script"
    name: str
    text: bytes = field(repr=False)
    timeout: float = 3600.0
    environment: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        parse_interpreter(self.text)
        _check_environment(self.environment)

    @property
    def target(self) -> str:
        """The name."""
        return self.name

    def preview(self, system: System) -> Change:
        """See `Action.preview`."""
        first = self.text[:_INTERPRETER_LINE].splitlines()[0].decode(errors="replace").rstrip()
        return Change(Effect.RUN, f"run script {self.name} ({len(self.text)} bytes, {first})")

    async def apply(self, target: Target) -> None:
        """See `Action.apply` and `RunCommand.apply`.

        The script is started through its interpreter, so that a file system that forbids execution does not
        matter, and is removed when it has ended.
        """
        files, path = target.system.files, f"{SCRIPTS}/{target.run_key}"
        interpreter = parse_interpreter(self.text)

        def explain(ending: Ending) -> str:
            if ending.missing:
                return f"the interpreter {interpreter[0]!r} does not exist"
            return f"it {ending}"

        def place() -> None:
            files.make_directory(SCRIPTS, mode=0o700, uid=os.geteuid(), gid=os.getegid())
            files.write(path, self.text, mode=0o700, uid=os.geteuid(), gid=os.getegid())

        await asyncio.to_thread(place)
        try:
            await _run(self, (*interpreter, path), target, explain, show=True)
        except ActionError:
            await asyncio.to_thread(files.remove, path)
            raise
        await asyncio.to_thread(files.remove, path)


def parse_interpreter(text: bytes) -> tuple[str, ...]:
    """Return the interpreter of a script and its argument, if any, as the kernel reads them (execve(2)).

    Raises:
        ValueError: there is no interpreter line.
    """
    line = text[:_INTERPRETER_LINE].partition(b"\n")[0]
    words = re.split(rb"[ \t]+", line[2:].strip(b" \t"), maxsplit=1)
    if not line.startswith(b"#!") or not words[0] or b"\0" in line:
        raise ValueError("a script begins with an interpreter line, such as #!/bin/sh")
    return tuple(os.fsdecode(word) for word in words)


async def _run(
    action: RunCommand | RunScript,
    argv: tuple[str, ...],
    target: Target,
    explain: Callable[[Ending], str],
    *,
    show: bool,
) -> None:
    """Run `argv` to its end; `show` says that its output may be shown if it fails."""
    from ucvm_agent.contextualize.actions.runs import Program, Run  # not on the way of a dry run

    root = Path("/") if target.system.live else target.system.root.absolute()
    if root != Path("/") and os.geteuid() != 0:
        raise ActionError("nothing can be run beneath another root (chroot)", where=action.target, hint="run as root")
    target.runs.mkdir(mode=0o700, parents=True, exist_ok=True)
    run = Run(target.runs, target.run_key)
    environment = ENVIRONMENT | {"HOME": "/root"} | dict(action.environment)
    ending = await run.end(Program(action.target, argv, environment, root, action.timeout))
    if ending.good:
        return
    output = mask_text(await asyncio.to_thread(run.last_lines)) if show else ""
    message = f"{explain(ending)}, after printing:\n{output}" if output else explain(ending)
    raise ActionError(message, hint=f"all of its output is in {run.log}" if output or not show else "")


def _check_environment(environment: tuple[tuple[str, str], ...]) -> None:
    for name, value in environment:
        if not name or "=" in name or "\0" in name + value:
            raise ValueError(f"not a name of an environment variable: {name!r}")
