"""How commands of many callers share the connections to one Redis."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from pydantic import SecretStr

from tests.controller.ledger.test_ledger import NOW, SCRIPT
from tests.servers.redis import RedisServer
from ucvm_agent.controller.ledger.redis_batch import BATCH
from ucvm_agent.controller.ledger.redis_ledger import RedisLedger
from ucvm_agent.controller.ledger.redis_link import CONNECTIONS, RedisLink
from ucvm_agent.errors import LedgerError

AGENTS = 1000


@pytest.fixture
async def link(redis_server: RedisServer) -> AsyncIterator[RedisLink]:
    """A connection that listens to nobody."""
    made = RedisLink(SecretStr(redis_server.url), lambda _: None)
    yield made
    await made.close()


async def reads(link: RedisLink) -> int:
    """Return how often Redis has read from its clients."""
    return int((await link.redis.info("stats"))["total_reads_processed"])


async def test_a_thousand_agents_need_few_round_trips(redis_server: RedisServer, link: RedisLink) -> None:
    """And each gets an answer and a job of its own."""
    ledger = RedisLedger(SecretStr(redis_server.url))
    await ledger.open()
    submitted = await asyncio.gather(*(ledger.submit(SCRIPT, now=NOW) for _ in range(AGENTS)))
    before = await reads(link)

    async def work(number: int) -> str:
        machine = f"m{number}"
        assert await ledger.offers(machine)
        job = await ledger.take(f"vm{number}@x/r", machine_id=machine, host="", now=NOW, seconds=60)
        assert job is not None
        assert job.lease is not None
        assert await ledger.extend(job.id, job.lease.id, now=NOW, seconds=90)
        return job.id

    taken = await asyncio.gather(*(work(number) for number in range(AGENTS)))
    assert set(taken) == {job.id for job in submitted}
    assert await reads(link) - before < AGENTS / 2  # for four commands of each
    await ledger.close()


async def test_who_asks_first_has_the_first_turn(link: RedisLink) -> None:
    """Those who come again as soon as they are served do not overtake anybody who waits."""
    served: list[str] = []

    async def ask(name: str) -> None:
        async with link.pipeline() as pipe:
            served.append(name)
            pipe.ping()
            await pipe.execute()

    async def ask_again() -> None:
        for _ in range(20):
            await ask("greedy")

    async with asyncio.TaskGroup() as group:
        for _ in range(2 * CONNECTIONS):
            group.create_task(ask_again())
        for number in range(2 * CONNECTIONS):
            group.create_task(ask(f"patient {number}"))
    patient = [f"patient {number}" for number in range(2 * CONNECTIONS)]
    assert [name for name in served if name != "greedy"] == patient
    assert served.index(patient[-1]) < 8 * CONNECTIONS


async def test_a_wrong_command_is_wrong_for_its_caller_only(link: RedisLink) -> None:
    """Whatever goes out with it."""
    await link.redis.set("text", "x")
    answers: Sequence[Any] = await asyncio.gather(
        link.redis.get("text"), link.redis.llen("text"), link.redis.get("text"), return_exceptions=True
    )
    assert answers[::2] == ["x", "x"]
    assert "WRONGTYPE" in str(answers[1])


async def test_more_commands_than_one_pipeline_takes_are_all_answered(link: RedisLink) -> None:
    """In their order."""
    asked = [link.redis.incr("number") for _ in range(2 * BATCH + 1)]
    assert await asyncio.gather(*asked) == list(range(1, 2 * BATCH + 2))


async def test_who_waits_when_the_connection_is_closed_is_told(redis_server: RedisServer, link: RedisLink) -> None:
    """Nobody waits for ever, though nothing has been sent yet."""
    await link.redis.ping()
    os.kill(redis_server.pid, signal.SIGSTOP)

    async def ask() -> None:
        with link.errors():
            await link.redis.ping()

    waiting = [asyncio.create_task(ask()) for _ in range(BATCH + 1)]
    await asyncio.sleep(0)  # they have asked
    await link.close()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(outcome, LedgerError) for outcome in outcomes)
