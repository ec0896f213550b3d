"""The event loop of the daemon."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any


class Loop(asyncio.SelectorEventLoop):
    """asyncio's loop, but for names: its end waits for none to be looked up.

    getaddrinfo(3) cannot be interrupted, and where no DNS answers it takes as long as resolv.conf(5) says.
    asyncio calls it in a thread that has to end before the program can.
    """

    async def getaddrinfo(
        self,
        host: Any,
        port: Any,
        *,
        family: int = 0,
        type: int = 0,  # noqa: A002 - as asyncio calls it
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        """Look up a name, in a thread that is abandoned when the caller gives up."""
        answer: asyncio.Future[Any] = self.create_future()

        def settle(settled: Callable[[Any], None], outcome: object) -> None:
            if not answer.done():
                settled(outcome)

        def look_up() -> None:
            try:
                found = socket.getaddrinfo(host, port, family, type, proto, flags)
            except (OSError, UnicodeError) as error:
                outcome: tuple[Callable[[Any], None], object] = (answer.set_exception, error)
            else:
                outcome = (answer.set_result, found)
            with suppress(RuntimeError):  # the loop is closed
                self.call_soon_threadsafe(settle, *outcome)

        threading.Thread(target=look_up, name="getaddrinfo", daemon=True).start()
        return await answer
