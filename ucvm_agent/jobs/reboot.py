"""Restarting the machine because a manager wants it, as the original agent did (references, section 3.5)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import structlog

log = structlog.get_logger()

LEAST_UPTIME = 3600.0
"""Seconds that a machine has to be up: nobody's message makes it restart again and again."""

COMMAND = ("systemctl", "reboot")


async def reboot_later(seconds: float, is_idle: Callable[[], bool]) -> None:
    """Restart the machine after so many seconds, if it has no job then."""
    await asyncio.sleep(seconds)
    if not is_idle() or time.clock_gettime(time.CLOCK_BOOTTIME) < LEAST_UPTIME:
        log.info("the machine is not restarted", idle=is_idle())
        return
    log.warning("the machine restarts, since a manager has told it to sleep", setting="jobs.reboot_on_sleep")
    process = await asyncio.create_subprocess_exec(*COMMAND, stdin=asyncio.subprocess.DEVNULL)
    await process.wait()
