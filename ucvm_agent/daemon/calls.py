"""What the daemon is called to do, by signals and by what it finds out itself."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum


class Call(IntEnum):
    """What the daemon is called to do; of several calls the greatest counts."""

    TAKE_OVER = 0
    """Read the settings again, since the user-data have changed them, and go on where it was."""
    RELOAD = 1
    """Read the settings again, and look for user-data anew."""
    REJOIN = 2
    """The same, under another name: the connections have still that of the machine that it was."""
    STOP = 3


SIGNALS = {signal.SIGHUP: Call.RELOAD, signal.SIGTERM: Call.STOP, signal.SIGINT: Call.STOP}


class Calls:
    """The calls that wait."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[Call] = asyncio.Queue()

    def put(self, call: Call) -> None:
        """Call the daemon."""
        self._waiting.put_nowait(call)

    async def next(self) -> Call:
        """Wait for a call; all that wait count as one."""
        calls = [await self._waiting.get()]
        while not self._waiting.empty():
            calls.append(self._waiting.get_nowait())
        return max(calls)

    @contextmanager
    def of_signals(self) -> Iterator[None]:
        """Let signals call the daemon until the block is left."""
        loop = asyncio.get_running_loop()
        for number, call in SIGNALS.items():
            loop.add_signal_handler(number, self.put, call)
        try:
            yield
        finally:
            for number in SIGNALS:
                loop.remove_signal_handler(number)
