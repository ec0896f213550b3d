"""Asks a program whether a new file is well-formed, before the file is put in place."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from ucvm_agent.contextualize.system import ENVIRONMENT
from ucvm_agent.errors import ActionError

if TYPE_CHECKING:
    from ucvm_agent.contextualize.system import System

log = structlog.get_logger()

TIMEOUT = 10.0
"""Seconds that the program may take."""


def accept(system: System, path: str, command: tuple[str, ...], private: bool, temporary: Path) -> None:
    """Run `command` on the file `temporary`; its program is the one beneath the root.

    Without that program, or without the right to run it there, the file is accepted unseen.

    Arguments:
        path: where the file is to be, for people.
        command: program and arguments; `{}` stands for the file.
        private: do not repeat what the program says, since it may quote the file.

    Raises:
        ActionError: the program refuses the file, or does not come to an end.
    """
    program = system.program(command[0])
    enter = _enter(system)
    if program is None or enter is None:
        log.debug("new file is not checked", path=path, program=command[0])
        return
    inside = str(temporary) if system.live else "/" + str(temporary.relative_to(system.root))
    argv = [*enter, program, *(argument.replace("{}", inside) for argument in command[1:])]
    try:
        ended = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=TIMEOUT,
            cwd="/",
            env=ENVIRONMENT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ActionError(f"{command[0]} did not end within {TIMEOUT:g} seconds", where=path) from error
    if ended.returncode:
        said = "" if private else ended.stdout.decode(errors="replace").replace(inside, path).strip()[:1000]
        raise ActionError(f"{command[0]} refuses the new content", where=path, hint=said or "look at its syntax")


def _enter(system: System) -> list[str] | None:
    """Return the command that runs another one beneath the root; None if that is not possible."""
    if system.live:
        return []
    chroot = shutil.which("chroot", path=ENVIRONMENT["PATH"])
    return [chroot, str(system.root)] if chroot and os.geteuid() == 0 else None
