"""Commands to Redis that go out together.

Whatever is asked while an answer is on its way goes out in one pipeline when that is there, in its order: so a
thousand agents that ask at once need few round trips, and nobody is overtaken.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

BATCH = 500
"""Most commands in one pipeline."""


@dataclass(frozen=True, slots=True)
class Call:
    """A command, and who waits for its answer."""

    command: tuple[Any, ...]
    options: dict[str, Any]
    answer: asyncio.Future[Any]

    def settle(self, answer: Any) -> None:
        """Let the caller go on, with an answer or an error, unless it was cancelled meanwhile."""
        if self.answer.done():
            return
        if isinstance(answer, Exception):
            self.answer.set_exception(answer)
        else:
            self.answer.set_result(answer)


class BatchingRedis(Redis):
    """A client that needs one connection for all single commands; pipelines and subscriptions have their own."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._calls: deque[Call] = deque()
        self._sending: asyncio.Task[None] | None = None

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Return the answer to one command; all commands of a client come through here."""
        call = Call(args, options, asyncio.get_running_loop().create_future())
        self._calls.append(call)
        if self._sending is None:
            # It begins in the next turn of the loop, so what else is asked in this one goes with it.
            self._sending = asyncio.create_task(self._send_all(), name="redis commands")
        return await call.answer

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        """Disconnect; who still waits for an answer gets an error."""
        if self._sending is not None:
            self._sending.cancel()
            with suppress(asyncio.CancelledError):
                await self._sending
        self._give_up()  # a task that was cancelled before it had begun has done nothing
        await super().aclose(close_connection_pool)

    async def _send_all(self) -> None:
        try:
            while self._calls:
                # Who was cancelled meanwhile is not sent for.
                size = min(BATCH, len(self._calls))
                calls = [call for call in (self._calls.popleft() for _ in range(size)) if not call.answer.done()]
                with _settled(calls):
                    await self._send(calls)
        finally:
            self._give_up()

    def _give_up(self) -> None:
        self._sending = None
        with _settled(list(self._calls)):
            self._calls.clear()

    async def _send(self, calls: list[Call]) -> None:
        async with self.pipeline(transaction=False) as pipe:
            for call in calls:
                pipe.execute_command(*call.command, **call.options)
            answers = await pipe.execute(raise_on_error=False)
        for call, answer in zip(calls, answers, strict=True):
            call.settle(answer)


@contextmanager
def _settled(calls: list[Call]) -> Iterator[None]:
    """Leave nobody waiting, whatever happens."""
    reason: Exception = RedisConnectionError("the connection was closed")
    try:
        yield
    except Exception as error:
        reason = error
    finally:
        for call in calls:
            call.settle(reason)
