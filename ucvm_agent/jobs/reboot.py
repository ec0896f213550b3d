"""The end of the machine: because a manager wants it, as with the original agent (references, section 3.5), or not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from ucvm_agent.errors import CommandRefused

log = structlog.get_logger()

LEAST_UPTIME = 3600.0
"""Seconds that a machine has to be up: nobody's message makes it restart again and again."""

QUESTION_SECONDS = 5.0
"""For systemd to say whether the machine shuts down."""

SYSTEMD = Path("/run/systemd/system")
"""Exists where systemd runs the machine (sd_booted(3))."""


async def reboot_later(seconds: float, is_idle: Callable[[], bool]) -> None:
    """Restart the machine after so many seconds, if it has no job then."""
    await asyncio.sleep(seconds)
    if not is_idle() or time.clock_gettime(time.CLOCK_BOOTTIME) < LEAST_UPTIME:
        log.info("the machine is not restarted", idle=is_idle())
        return
    log.warning("the machine restarts, since a manager has told it to sleep", setting="jobs.reboot_on_sleep")
    process = await asyncio.create_subprocess_exec("systemctl", "reboot", stdin=asyncio.subprocess.DEVNULL)
    await process.wait()


async def power_off() -> None:
    """Have systemd shut the machine down; it ends the agent as well, in its turn.

    Raises:
        CommandRefused: it does not.
    """
    if not await asyncio.to_thread(SYSTEMD.is_dir):
        raise CommandRefused("this machine is not run by systemd, and is to be shut down from outside")
    process = await asyncio.create_subprocess_exec(
        "systemctl", "--no-block", "poweroff", stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(QUESTION_SECONDS):
            _, errors = await process.communicate()
    except TimeoutError:
        raise CommandRefused("systemd does not answer") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise CommandRefused(f"systemd refuses: {errors.decode(errors='replace').strip()[:500]}")


async def is_shutting_down() -> bool:
    """Return whether the machine is going down, and not only the agent."""
    if not await asyncio.to_thread(SYSTEMD.is_dir):
        return False
    process = await asyncio.create_subprocess_exec(
        "systemctl", "is-system-running", stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(QUESTION_SECONDS):
            output, _ = await process.communicate()
    except TimeoutError:
        return False
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return output.strip() == b"stopping"
