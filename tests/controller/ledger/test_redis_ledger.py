"""What is particular to Redis: the original's keys, several controllers, and a server that goes and comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from tests.controller.ledger.test_ledger import FETCHED, NOW, SCRIPT, event, later, lease, result, take
from tests.servers.redis import RedisServer
from tests.servers.relay import relay
from ucvm_agent.controller.ledger.base import Notice
from ucvm_agent.controller.ledger.fields import read_original, write_original
from ucvm_agent.controller.ledger.redis_ledger import KEPT_EVENTS, STORY_EVENTS, RedisLedger
from ucvm_agent.controller.ledger.redis_scripts import APPEND
from ucvm_agent.controller.model import Description, JobStatus, Result
from ucvm_agent.errors import LedgerError, SettingsError, UsageError
from ucvm_agent.events import Note

ORIGINAL = (
    "chirp.example.org:9094::::b0a1c2d3-0001::::run.sh###steer.txt::::run.sh::::-n 100::::export SEED=7"
    "::::VO_ALICE@AliRoot::v4-16-Rev-01"
)
DESCRIPTION = Description(
    chirp_url="chirp.example.org:9094",
    input_dir="b0a1c2d3-0001",
    input_files=("run.sh", "steer.txt"),
    command="run.sh",
    arguments="-n 100",
    environment="export SEED=7",
    packages=("VO_ALICE@AliRoot::v4-16-Rev-01",),
)


@pytest.fixture
async def redis(redis_server: RedisServer) -> AsyncIterator[Any]:
    """A client, as original tools are one."""
    client = Redis.from_url(redis_server.url, decode_responses=True)
    yield client
    await client.aclose()


@pytest.fixture
async def ledgers(redis_server: RedisServer) -> AsyncIterator[list[RedisLedger]]:
    """Those of three controllers."""
    made = [RedisLedger(SecretStr(redis_server.url)) for _ in range(3)]
    for each in made:
        await each.open()
    yield made
    for each in made:
        await each.close()


async def test_a_job_of_an_original_tool_is_handed_out(redis: Any, ledgers: list[RedisLedger]) -> None:
    """It is known from then on, comes back when it is lost, and ends as any other."""
    await redis.set("job:old-1:description", ORIGINAL)
    await redis.rpush("waiting_jobs", "old-1")
    assert await ledgers[0].waiting() == 1
    job = await take(ledgers[0])
    assert (job.id, job.description, job.status) == ("old-1", DESCRIPTION, JobStatus.RUNNING)
    await ledgers[1].give_back("old-1", lease(job), "lost", now=NOW)
    assert await redis.lrange("waiting_jobs", 0, -1) == ["old-1"]
    again = await take(ledgers[2])
    assert (again.tries, again.description) == (2, DESCRIPTION)
    assert await ledgers[0].finish("old-1", result(again)) is not None


async def test_a_job_of_ours_is_seen_by_an_original_manager(redis: Any, ledgers: list[RedisLedger]) -> None:
    """It takes the job from the list and reads the description; the result comes to us from an account unknown."""
    await ledgers[0].submit(DESCRIPTION, now=NOW, id="j")
    queued = result(await take(ledgers[0])).model_copy(update={"lease": ""})
    await ledgers[0].give_back("j", queued.lease, "x", now=NOW)
    await ledgers[0].submit(DESCRIPTION, now=NOW, id="k")
    assert await redis.lpop("waiting_jobs") == "k"
    assert await redis.get("job:k:description") == ORIGINAL
    done = await ledgers[1].finish("k", queued)
    assert done is not None
    assert done.status is JobStatus.DONE
    await ledgers[0].submit(DESCRIPTION, now=NOW, id="still-queued")
    assert await ledgers[1].finish("still-queued", queued) is None


async def test_a_job_for_agents_of_ours_is_hidden_from_an_original_manager(
    redis: Any, ledgers: list[RedisLedger]
) -> None:
    """Where it looks there is nothing, and it cannot have handed the job out; its own jobs come in their turn."""
    await ledgers[0].submit(FETCHED, now=NOW, id="ours")
    assert not await redis.exists("waiting_jobs", "job:ours:description")
    unknown = Result(lease="", agent="vm@site.example/r", exit_status=0, ended=NOW)
    assert await ledgers[1].finish("ours", unknown) is None
    for name in ("old-1", "old-2"):
        await redis.set(f"job:{name}:description", ORIGINAL)
        await redis.rpush("waiting_jobs", name)
    assert (await take(ledgers[0])).id == "ours"
    await ledgers[0].submit(FETCHED, now=NOW, id="later")
    await ledgers[0].submit(FETCHED, now=NOW, id="last")
    assert [(await take(ledgers[0])).id for _ in range(4)] == ["old-1", "later", "last", "old-2"]


async def test_a_job_that_an_original_manager_keeps_to_itself_is_found(redis: Any, ledgers: list[RedisLedger]) -> None:
    """It took the job, and whoever ran it told nobody but it; what waits, runs or is young is another matter."""
    for name in ("runs", "taken", "waits"):
        await ledgers[0].submit(SCRIPT, now=NOW, id=name)
    await ledgers[0].submit(FETCHED, now=NOW, id="ours")
    assert (await take(ledgers[0], "old@x/r", "")).id == "runs"
    assert await redis.lpop("waiting_jobs") == "taken"
    assert await ledgers[0].strayed(NOW) == []
    assert [job.id for job in await ledgers[0].strayed(later(1))] == ["taken"]


async def test_a_job_of_an_original_tool_outlives_a_controller_that_dies_as_it_takes_it(
    redis: Any, ledgers: list[RedisLedger]
) -> None:
    """Taken from the list, and nothing was done with it since."""
    await redis.set("job:old-1:description", ORIGINAL)
    await redis.rpush("waiting_jobs", "old-1")
    job = await take(ledgers[0])
    assert await ledgers[1].expired(now=later(180)) == [job]
    assert await ledgers[1].give_back("old-1", lease(job), "silent", now=later(180)) is not None
    assert (await take(ledgers[1])).description == DESCRIPTION


async def test_what_an_original_manager_would_find_wrong_is_failed(redis: Any, ledgers: list[RedisLedger]) -> None:
    """A job without description, which the original loses."""
    await redis.rpush("waiting_jobs", "no-description")
    job = await ledgers[0].take("vm@x/r", machine_id="", host="", now=NOW, seconds=1)
    assert job is not None
    assert job.status is JobStatus.FAILED
    assert "without a description" in job.reason
    assert await ledgers[0].expired(now=later(100)) == []


async def test_a_cancelled_job_is_not_there_for_an_original_manager(redis: Any, ledgers: list[RedisLedger]) -> None:
    """Neither in its list nor its description."""
    await ledgers[0].submit(SCRIPT, now=NOW, id="j")
    await ledgers[0].cancel("j", "no", now=NOW)
    assert not await redis.exists("waiting_jobs", "job:j:description")


async def test_the_cooldown_is_that_of_the_original_manager(redis: Any, ledgers: list[RedisLedger]) -> None:
    """Kept under its key, in its form: each respects the questions that the other has heard."""
    await ledgers[0].admit("agent@x.example", "q1", now=NOW, cooldown=60)
    assert await redis.get("agentseen::agent") == str(int(NOW.timestamp()))
    await redis.set("agentseen::other", str(int(NOW.timestamp())))
    assert await ledgers[0].admit("other@x.example", "q2", now=later(59), cooldown=60) == "too soon"


async def test_controllers_never_hand_out_one_job_twice(ledgers: list[RedisLedger]) -> None:
    """Each takes as fast as it can."""
    names = {(await ledgers[0].submit(SCRIPT, now=NOW)).id for _ in range(90)}
    asked = [
        each.take(f"vm{n}@x/r", machine_id="m", host="", now=NOW, seconds=9) for n in range(40) for each in ledgers
    ]
    taken = [job.id for job in await asyncio.gather(*asked) if job]
    assert (len(taken), set(taken)) == (90, names)


async def test_one_of_several_results_counts(ledgers: list[RedisLedger]) -> None:
    """Told to three controllers at the same moment, with a cancellation in between."""
    for number in range(20):
        await ledgers[0].submit(SCRIPT, now=NOW, id=f"j{number}")
        job = await take(ledgers[0])
        ends = [each.finish(job.id, result(job)) for each in ledgers]
        outcomes = await asyncio.gather(*ends, ledgers[1].cancel(job.id, "no", now=NOW))
        assert sum(outcome is not None for outcome in outcomes) == 1


async def test_nothing_is_lost_when_redis_is_killed(redis_server: RedisServer, ledgers: list[RedisLedger]) -> None:
    """While it is away every call says so; then all is as it was, and changes are told again."""
    await ledgers[0].submit(SCRIPT, now=NOW, id="j")
    job = await take(ledgers[0])
    await redis_server.kill()
    with pytest.raises(LedgerError) as caught:
        await ledgers[0].waiting()
    assert "redis://127.0.0.1" in str(caught.value)
    with pytest.raises(LedgerError):
        await ledgers[0].finish("j", result(job))
    await redis_server.start()
    # Without a failure left over from before.
    assert await ledgers[1].job("j") == job
    assert await ledgers[1].finish("j", result(job)) is not None


async def test_a_job_whose_handing_out_redis_broke_off_need_not_wait_for_the_end_of_its_lease(
    redis_server: RedisServer, ledgers: list[RedisLedger]
) -> None:
    """The connection breaks when it is leased, but nobody knows yet; whoever asks next gets it, as at the first try."""
    heard: asyncio.Queue[Notice] = asyncio.Queue()
    async with relay(redis_server.port, hold_after=0) as between:
        between.release.set()
        ledger = RedisLedger(SecretStr(f"redis://127.0.0.1:{between.port}/0"))
        await ledger.open()
        # From now on Redis has the script.
        assert await ledger.take("vm@x/r", machine_id="m1", host="", now=NOW, seconds=60) is None
        await ledger.submit(SCRIPT, now=NOW, id="j")
        between.release.clear()
        assert await ledger.offers("m1")  # no answer comes through after this one
        ledgers[0].on_notice = heard.put_nowait
        asked = asyncio.create_task(take(ledger))
        await heard.get()
        await between.close()
        with pytest.raises(LedgerError):
            await asked
        lost = await ledgers[0].job("j")
        assert lost is not None
        assert lost.status is JobStatus.RUNNING
        job = await take(ledger, "other@x/r", "m2")
        assert (job.id, job.tries) == ("j", 1)
        assert lease(job) != lease(lost)
        await ledger.close()


async def test_all_events_of_a_machine_that_is_forgotten_go(redis: Any, ledgers: list[RedisLedger]) -> None:
    """Also those that are in the story of all machines only; what others have reported stays."""
    await ledgers[0].record(event(Note(message="first"), "gone"), "vm@x/r", now=NOW)
    await ledgers[0].record(event(Note(message='"machine_id":"gone"'), "other"), "vm2@x/r", now=NOW)
    async with redis.pipeline(transaction=False) as pipe:
        for seq in range(2 * STORY_EVENTS):
            document = event(Note(message="x"), "gone", seq).model_dump_json()
            pipe.eval(APPEND, 0, "gone", document, KEPT_EVENTS, STORY_EVENTS)
        await pipe.execute()
    assert await redis.xlen("ucvm:events:gone") < STORY_EVENTS + 200
    assert not await ledgers[0].forget_machine("gone", before=NOW)
    assert await redis.xlen("ucvm:events") == 2 * STORY_EVENTS + 2
    assert await ledgers[0].forget_machine("gone", before=later(1))
    assert [entry.event.machine_id for entry in await ledgers[0].events(limit=9)] == ["other"]


async def test_a_redis_that_is_not_there_is_an_error_that_says_where() -> None:
    """But for the password in its URL."""
    ledger = RedisLedger(SecretStr("redis://:s3cret@127.0.0.1:1/0"))
    with pytest.raises(LedgerError) as caught:
        await ledger.open()
    await ledger.close()
    assert "127.0.0.1:1" in str(caught.value)
    assert "s3cret" not in str(caught.value)
    with pytest.raises(SettingsError):
        RedisLedger(SecretStr("http://127.0.0.1"))


def test_a_description_is_written_as_the_original_does() -> None:
    """And read back; one that could not be told apart is refused."""
    assert write_original(DESCRIPTION) == ORIGINAL
    assert read_original(ORIGINAL) == DESCRIPTION
    assert read_original("c:1::::d") == Description(command="", chirp_url="c:1", input_dir="d")
    assert read_original(f"{ORIGINAL}::::more::::fields") == DESCRIPTION
    for bad in ("a::::b", "a:"):
        with pytest.raises(UsageError):
            write_original(Description(command="run.sh", arguments=bad))
