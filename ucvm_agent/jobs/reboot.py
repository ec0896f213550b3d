"""The end of the machine: because a manager wants it, as with the original agent (references, section 3.5), or not."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from ucvm_agent.errors import CommandRefused

if TYPE_CHECKING:
    from ucvm_agent.jobs.worker import Worker

log = structlog.get_logger()

QUESTION_SECONDS = 5.0
"""For systemd to answer."""

RESTART_SECONDS = 600.0
"""For the machine to go down once systemd has agreed; then something keeps it up, and it takes jobs again."""

SYSTEMD = Path("/run/systemd/system")
"""Exists where systemd runs the machine (sd_booted(3))."""


async def restart_later(seconds: float, least_uptime: float, worker: Worker) -> None:
    """Restart the machine after so many seconds (references, section 3.5), if it has no job then.

    It takes no more jobs from now on, so none is lost with it, and its controllers know why. An agent that starts anew
    takes jobs again, whether the machine has restarted or only the agent has: the boot id of its events tells which.

    Arguments:
        least_uptime: seconds that the machine has to be up: nobody's message makes it restart again and again.
    """
    if not worker.is_idle():
        log.info("the machine is not restarted, since it has a job")
        return
    worker.begin_restart(f"a manager has told the machine to sleep: it restarts in {seconds:.0f} s")
    try:
        await asyncio.sleep(seconds)
        await _restart(least_uptime, worker)
    except CommandRefused as error:
        worker.give_up_restart(f"the machine does not restart: {error.message}")


async def _restart(least_uptime: float, worker: Worker) -> None:
    if not worker.is_idle():
        raise CommandRefused("it has got a job meanwhile")
    if time.clock_gettime(time.CLOCK_BOOTTIME) < least_uptime:
        raise CommandRefused("it was restarted not long ago")
    log.warning("the machine restarts, since a manager has told it to sleep", setting="jobs.reboot_on_sleep")
    await _order("reboot")
    await asyncio.sleep(RESTART_SECONDS)
    raise CommandRefused("systemd has not shut it down")


async def power_off() -> None:
    """Have systemd shut the machine down; it ends the agent as well, in its turn.

    Raises:
        CommandRefused: it does not.
    """
    await _order("poweroff")


async def is_shutting_down() -> bool:
    """Return whether the machine is going down, and not only the agent."""
    try:
        _, output, _ = await _systemctl("is-system-running")
    except CommandRefused:
        return False
    return output.strip() == b"stopping"


async def _order(verb: str) -> None:
    """Have systemd do something without waiting for it; raises CommandRefused."""
    status, _, errors = await _systemctl("--no-block", verb)
    if status:
        raise CommandRefused(f"systemd refuses: {errors.decode(errors='replace').strip()[:500]}")


async def _systemctl(*arguments: str) -> tuple[int, bytes, bytes]:
    """Return exit code, output and error output of systemctl(1).

    Raises:
        CommandRefused: there is no systemd, or it does not answer.
    """
    if not await asyncio.to_thread(SYSTEMD.is_dir):
        raise CommandRefused("this machine is not run by systemd, and is to be shut down from outside")
    pipe = asyncio.subprocess.PIPE
    try:
        process = await asyncio.create_subprocess_exec(
            "systemctl", *arguments, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe
        )
    except OSError as error:
        raise CommandRefused(f"systemctl cannot be run: {error.strerror}") from error
    try:
        async with asyncio.timeout(QUESTION_SECONDS):
            output, errors = await process.communicate()
    except TimeoutError:
        raise CommandRefused("systemd does not answer") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, output, errors
