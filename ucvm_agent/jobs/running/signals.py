"""The signals of a supervisor, as something to wait for beside its pipes."""

from __future__ import annotations

import os
import signal
from contextlib import suppress


class Signals:
    """SIGCHLD and SIGTERM of this process from now on; `outlet` is readable when one has come."""

    def __init__(self) -> None:
        self.asked_to_end = False
        self.outlet, inlet = os.pipe()
        os.set_blocking(self.outlet, False)
        os.set_blocking(inlet, False)
        signal.set_wakeup_fd(inlet, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._ask)

    def take(self) -> None:
        """Take note of those that have come."""
        with suppress(BlockingIOError):
            os.read(self.outlet, 4096)

    def _ask(self, *_: object) -> None:
        self.asked_to_end = True
