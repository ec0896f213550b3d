"""Programs of the system that actions use; they end soon, and are no concern of the user-data."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from ucvm_agent.contextualize.system import ENVIRONMENT
from ucvm_agent.errors import ActionError

if TYPE_CHECKING:
    from ucvm_agent.contextualize.system import System

PATIENCE = 60.0
"""Seconds that a tool may take; those for accounts wait up to 15 for somebody else's lock."""


async def run_tool(system: System, name: str, *arguments: str, stdin: str = "", patience: float = PATIENCE) -> None:
    """Run a tool of the running system to its end.

    Arguments:
        stdin: what it reads; the place for secrets.
        patience: seconds that it may take.

    Raises:
        ActionError: it is not there, fails, or takes too long.
    """
    program = system.program(name)
    if program is None:
        raise ActionError(f"there is no {name}", hint="install the package that has it")
    await run_program(program, *arguments, stdin=stdin, patience=patience)


async def run_program(program: str, *arguments: str, stdin: str = "", patience: float = PATIENCE) -> None:
    """Run a program, given by its path, as `run_tool` does; cancellation kills it."""
    name = program.rpartition("/")[2]
    process = await asyncio.create_subprocess_exec(
        *(program, *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env=ENVIRONMENT,
        cwd="/",
    )
    try:
        async with asyncio.timeout(patience):
            _, errors = await process.communicate(stdin.encode(errors="surrogateescape"))
    except TimeoutError as error:
        raise ActionError(f"{name} did not end within {patience:g} seconds") from error
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode:
        said = errors.decode(errors="replace").strip()[-1000:] or "it did not say why"
        raise ActionError(f"{name} ended with exit status {process.returncode}: {said}")
