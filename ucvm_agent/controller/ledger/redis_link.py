"""The connection of a controller to Redis: transactions, notices, and errors that are ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, TypeVar
from urllib.parse import urlsplit

import structlog
from pydantic import SecretStr
from redis.asyncio import ConnectionPool
from redis.exceptions import RedisError, WatchError

from ucvm_agent.controller.ledger.redis_batch import BatchingRedis
from ucvm_agent.errors import LedgerError, SettingsError
from ucvm_agent.network.retry import FIRST_WAIT, LONGEST_WAIT, waits

log = structlog.get_logger()

T = TypeVar("T")

ANSWER_SECONDS = 10.0
"""For one answer."""

TURN_SECONDS = 30.0
"""For a free connection."""

CONNECTIONS = 16
"""Most pipelines at once, each with a connection of its own; single commands share one more."""

NOTICES = "ucvm:notices"
"""The channel on which controllers tell each other what has changed."""


class RedisLink:
    """Redis, as the ledger uses it.

    Arguments:
        url: redis://, rediss:// or unix://; never shown, since it may hold a password.
        heard: called with each text on the channel `NOTICES`.
    """

    def __init__(self, url: SecretStr, heard: Callable[[str], None]) -> None:
        self._where = _shown(url)
        self._heard = heard
        self._listening: asyncio.Task[None] | None = None
        # First come, first served; the pool itself refuses what is more than it has.
        self._turns = asyncio.Semaphore(CONNECTIONS)
        try:
            pool = ConnectionPool.from_url(
                url.get_secret_value(),
                socket_timeout=ANSWER_SECONDS,
                socket_connect_timeout=ANSWER_SECONDS,
                decode_responses=True,
            )
        except ValueError as error:
            raise SettingsError(
                "not a URL of Redis", where="redis", hint="redis://HOST:PORT/0 or unix:///PATH"
            ) from error
        # Its types cannot tell that answers are text here.
        self.redis: Any = BatchingRedis(connection_pool=pool)

    async def open(self) -> None:
        """Connect, and listen to notices from now on.

        Raises:
            LedgerError: there is no Redis that answers.
        """
        with self.errors():
            persistence: dict[str, Any] = await self.redis.info("persistence")
        if not persistence.get("aof_enabled"):
            log.warning("redis may forget what it is told", hint="set appendonly yes in redis.conf", where=self._where)
        listening = asyncio.Event()
        self._listening = asyncio.create_task(self._listen(listening), name="redis notices")
        with self.errors():
            async with asyncio.timeout(ANSWER_SECONDS):
                await listening.wait()

    async def close(self) -> None:
        """Disconnect."""
        if self._listening is not None:
            self._listening.cancel()
            with suppress(asyncio.CancelledError):
                await self._listening
        await self.redis.aclose()
        await self.redis.connection_pool.disconnect()

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Raise LedgerError for whatever Redis, or the way to it, does wrong."""
        try:
            yield
        except (RedisError, OSError, TimeoutError) as error:
            raise LedgerError(f"Redis: {str(error) or type(error).__name__}", where=self._where) from error

    @asynccontextmanager
    async def pipeline(self) -> AsyncIterator[Any]:
        """Yield a pipeline when it is this caller's turn; see `errors`.

        Who holds one must not wait for another one, or all might wait for each other.
        """
        with self.errors():
            await self._turn()
            try:
                async with self.redis.pipeline(transaction=True) as pipe:
                    yield pipe
            finally:
                self._turns.release()

    async def _turn(self) -> None:
        try:
            async with asyncio.timeout(TURN_SECONDS):
                await self._turns.acquire()
        except TimeoutError:
            raise TimeoutError("it is too slow for all who ask") from None

    async def transact(self, keys: tuple[str, ...], work: Callable[[Any], Awaitable[T]]) -> T:
        """Return what `work` returns, once its commands were carried out in one go.

        It is called again if somebody has changed one of the keys meanwhile. It reads first, then calls `multi`, and
        leaves the commands in the pipeline.
        """
        async with self.pipeline() as pipe:
            while True:
                try:
                    await pipe.watch(*keys)
                    result = await work(pipe)
                    await pipe.execute()
                except WatchError:
                    continue
                return result

    async def _listen(self, listening: asyncio.Event) -> None:
        from tenacity import AsyncRetrying, retry_if_exception_type

        again = retry_if_exception_type((RedisError, OSError))
        async for attempt in AsyncRetrying(retry=again, wait=waits(FIRST_WAIT, LONGEST_WAIT)):
            with attempt:
                try:
                    await self._hear_all(listening)
                finally:
                    # Those that idle are as dead as this one, and would each fail once.
                    await self.redis.connection_pool.disconnect(inuse_connections=False)

    async def _hear_all(self, listening: asyncio.Event) -> None:
        async with self.redis.pubsub(ignore_subscribe_messages=False) as channel:
            await channel.subscribe(NOTICES)
            while True:
                message = await channel.get_message(timeout=None)
                listening.set()
                if message is not None and message["type"] == "message":
                    self._heard(message["data"])


def _shown(url: SecretStr) -> str:
    """Return what of a URL may be shown."""
    with suppress(ValueError):
        parts = urlsplit(url.get_secret_value())
        return f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path}"
    return "redis"
