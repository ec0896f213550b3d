"""How much of the disk a job takes, measured now and then."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from math import inf

PAUSE = 2.0
"""Seconds between two measurements."""

_SHARE = 10
"""A measurement that takes long is followed by a pause this much longer, so that it never is the main load."""


class Disk:
    """The folders of a job, measured by du(1), which neither deep trees nor links nor removals in between can fool.

    Arguments:
        folders: their paths.
        limit: bytes; 0 is none, and then nothing is measured.
    """

    def __init__(self, folders: tuple[str, ...], limit: int) -> None:
        self._folders = folders
        self._limit = limit
        self._text = b""
        self._begin = 0.0
        self.due = time.monotonic() + PAUSE if limit else inf
        self.outlet: int | None = None
        self.process = 0

    def measure(self) -> int:
        """Begin a measurement and return its process; `outlet` tells how it goes on.

        0 if that is not possible now, perhaps since the job has used up what there is: then it is tried again.
        """
        self._text, self._begin, self.due, self.process = b"", time.monotonic(), inf, 0
        try:
            self._start()
        except OSError:
            self._close()
            self.due = self._begin + PAUSE
        return self.process

    def _start(self) -> None:
        self.outlet, inlet = os.pipe()
        null = -1
        try:
            null = os.open(os.devnull, os.O_RDWR)
            self.process = os.posix_spawnp(
                "du",
                ("du", "-s", "-x", "--block-size=1", "--", *self._folders),
                {"LC_ALL": "C", "PATH": os.defpath},
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, source, number) for number, source in enumerate((null, inlet, null))
                ],
                setsigdef=[signal.SIGTERM, signal.SIGPIPE],
            )
        finally:
            os.close(inlet)
            if null >= 0:
                os.close(null)

    def take(self) -> bool:
        """Take what the measurement says; return whether it says that the folders are too large."""
        if self.outlet is None:
            return False
        data = os.read(self.outlet, 4096)
        self._text += data[: 4096 - len(self._text)]
        if data:
            return False
        self._close()
        now = time.monotonic()
        self.due = now + max(PAUSE, _SHARE * (now - self._begin))
        sizes = (line.split(b"\t")[0] for line in self._text.splitlines())
        return sum(int(size) for size in sizes if size.isdigit()) > self._limit

    def stop(self) -> None:
        """End a measurement that is going on."""
        self.due = inf
        if self.outlet is not None:
            with suppress(ProcessLookupError):
                os.kill(self.process, signal.SIGKILL)
            self._close()

    def _close(self) -> None:
        if self.outlet is not None:
            os.close(self.outlet)
        self.outlet = None
