"""What the agent tells systemd (sd_notify(3)); without a NOTIFY_SOCKET it tells nobody."""

from __future__ import annotations

import asyncio
import os
import time

from sdnotify import SystemdNotifier


class Notify:
    """The service manager's end of this process."""

    def __init__(self) -> None:
        self._notifier = SystemdNotifier()

    def ready(self) -> None:
        """Say that start-up, or a reload, is finished."""
        self._notifier.notify("READY=1")

    def reloading(self) -> None:
        """Say that the settings are being read again; `ready` ends it."""
        self._notifier.notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Say that the agent is on its way down."""
        self._notifier.notify("STOPPING=1")

    def status(self, text: str) -> None:
        """Show one line in `systemctl status`."""
        self._notifier.notify(f"STATUS={text.splitlines()[0] if text else ''}")

    async def watchdog(self) -> None:
        """Tell that the event loop turns, twice per watchdog period, until cancelled; returns if none is set."""
        period = int(os.environ.get("WATCHDOG_USEC", "0")) / 1_000_000
        if not period or os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
            return
        while True:
            self._notifier.notify("WATCHDOG=1")
            await asyncio.sleep(period / 2)
