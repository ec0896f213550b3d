"""What the agent tells systemd (sd_notify(3)); without a NOTIFY_SOCKET it tells nobody."""

from __future__ import annotations

import asyncio
import os
import time

from sdnotify import SystemdNotifier

EXTENSION_SECONDS = 30
"""What the service manager is asked to wait longer, each time; three times as long as the time between two requests."""


class Notify:
    """The service manager's end of this process."""

    def __init__(self) -> None:
        self._notifier = SystemdNotifier()
        self._busy = True

    def ready(self) -> None:
        """Say that start-up, or a reload, is finished."""
        self._busy = False
        self._notifier.notify("READY=1")

    def reloading(self) -> None:
        """Say that the settings are being read again; `ready` ends it."""
        self._busy = True
        self._notifier.notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, seconds: float) -> None:
        """Say that the agent is on its way down, and how many seconds that may take."""
        self._busy = False
        self._notifier.notify(f"STOPPING=1\nEXTEND_TIMEOUT_USEC={round(seconds * 1_000_000)}")

    def status(self, text: str) -> None:
        """Show one line in `systemctl status`."""
        self._notifier.notify(f"STATUS={text.splitlines()[0] if text else ''}")

    async def heartbeat(self) -> None:
        """Tell regularly that the event loop turns, until cancelled.

        That feeds the watchdog, if there is one, and asks for patience while start-up or a reload goes on: a
        script of the context may well take longer than `TimeoutStartSec=`.
        """
        async with asyncio.TaskGroup() as group:
            group.create_task(self._feed_watchdog())
            group.create_task(self._ask_for_patience())

    async def _feed_watchdog(self) -> None:
        period = int(os.environ.get("WATCHDOG_USEC", "0")) / 1_000_000
        if not period or os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
            return
        while True:
            self._notifier.notify("WATCHDOG=1")
            await asyncio.sleep(period / 2)

    async def _ask_for_patience(self) -> None:
        while True:
            if self._busy:
                self._notifier.notify(f"EXTEND_TIMEOUT_USEC={EXTENSION_SECONDS * 1_000_000}")
            await asyncio.sleep(EXTENSION_SECONDS / 3)
