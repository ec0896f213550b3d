"""Controllers that are killed, and several at once: nothing is lost, nothing is done twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from pydantic import SecretStr

from tests.controller.conftest import Make
from tests.controller.ledger.test_ledger import NOW
from tests.controller.peer import Peer, peer
from tests.servers.prosody import Prosody
from tests.servers.redis import RedisServer
from tests.servers.serving import Serving
from ucvm_agent.controller.ledger.redis_ledger import RedisLedger
from ucvm_agent.controller.ledger.sqlite_ledger import SQLiteLedger
from ucvm_agent.controller.model import Description, JobStatus
from ucvm_agent.copilot import messages
from ucvm_agent.copilot.messages import GetJob, HaveJob, JobDone, RunJob, WantJob
from ucvm_agent.copilot.stanza import bare
from ucvm_agent.errors import DeliveryDelayed

SCRIPT = Description(command="run.sh", input_files=("run.sh",))
JOBS = 60
AGENTS = 6


class Worker:
    """An agent that does jobs at once, and repeats what is not acknowledged, to any controller of the account.

    Attributes:
        ran: the leases that it was given, by job, in order.
    """

    def __init__(self, agent: Peer, name: str, manager: str, done: asyncio.Queue[str]) -> None:
        self.ran: list[str] = []
        self._done = done
        self._agent = agent
        self._name = name
        self._manager = manager

    async def work(self, ended: asyncio.Event) -> None:
        """Ask for jobs and do them, until there are none any more."""
        while not ended.is_set():
            run = await self._ask()
            if run is not None:
                self.ran.append(run.job.id)
                await self._report(run)

    async def _ask(self) -> RunJob | None:
        try:
            self._agent.say(self._manager, WantJob(machine_id=self._name, request="r"))
            async with asyncio.timeout(1):
                while True:
                    envelope = await self._agent.messages.get()
                    message = messages.read(envelope)
                    if isinstance(message, HaveJob):
                        self._agent.say(envelope.sender, GetJob(machine_id=self._name, request="r"))
                    elif isinstance(message, RunJob):
                        self._manager = envelope.sender
                        return message
        except (TimeoutError, DeliveryDelayed):
            self._manager = bare(self._manager)
            return None

    async def _report(self, run: RunJob) -> None:
        done = JobDone(job_id=run.job.id, lease=run.lease, machine_id=self._name, exit_code="0")
        number = ""
        while True:
            try:
                number = self._agent.say(self._manager, done, id=number)
                async with asyncio.timeout(1):
                    await self._agent.confirmed(number)
                    self._done.put_nowait(run.job.id)
                    return
            except (TimeoutError, DeliveryDelayed):
                self._manager = bare(self._manager)


@asynccontextmanager
async def workers(prosody: Prosody) -> AsyncIterator[tuple[list[Worker], asyncio.Queue[str]]]:
    """Let agents work until the block ends; yield them, and the jobs whose end was acknowledged."""
    ended = asyncio.Event()
    done: asyncio.Queue[str] = asyncio.Queue()
    async with asyncio.TaskGroup() as group:
        made: list[Worker] = []

        async def live(number: int) -> None:
            async with peer(prosody, f"agent{number}", f"{number}0000000") as agent:
                worker = Worker(agent, f"m{number}", prosody.jid("jm"), done)
                made.append(worker)
                await worker.work(ended)

        for number in range(1, AGENTS + 1):
            group.create_task(live(number))
        yield made, done
        ended.set()


async def test_a_controller_that_is_killed_in_a_burst_loses_nothing(prosody: Prosody, tmp_path: Path) -> None:
    """Killed twice in the middle; each job has one result, and what was acknowledged is in the ledger."""
    serving = Serving(prosody, tmp_path / "alpha", "alpha")
    ledger = SQLiteLedger(serving.state_dir / "ledger.db")
    await ledger.open()
    names = {(await ledger.submit(SCRIPT, now=NOW, max_tries=9)).id for _ in range(JOBS)}
    await serving.start()
    seen: set[str] = set()
    async with workers(prosody) as (made, done_jobs):
        for part in (JOBS // 4, JOBS // 2):
            await _until_done(done_jobs, seen, part)
            await serving.kill()
            await serving.start()
        await _until_done(done_jobs, seen, JOBS)
    assert await serving.stop() == 0, serving.log_text()
    done = await ledger.jobs(JobStatus.DONE, limit=JOBS + 1)
    assert {job.id for job in done} == names
    assert {job.id for job in done} == {job for worker in made for job in worker.ran}
    assert all(job.result and job.result.lease in job.takers for job in done)
    await ledger.close()


async def _until_done(done: asyncio.Queue[str], seen: set[str], count: int) -> None:
    """Return when the end of so many jobs was acknowledged."""
    async with asyncio.timeout(60):
        while len(seen) < count:
            seen.add(await done.get())


async def test_two_controllers_share_one_redis_and_one_account(
    prosody: Prosody, redis_server: RedisServer, tmp_path: Path
) -> None:
    """Both hand out; one is killed in the middle, and the agents go on with the other."""
    both = [Serving(prosody, tmp_path / name, name, redis_server.url) for name in ("alpha", "beta")]
    ledger = RedisLedger(SecretStr(redis_server.url))
    await ledger.open()
    names = {(await ledger.submit(SCRIPT, now=NOW, max_tries=9)).id for _ in range(JOBS)}
    for serving in both:
        await serving.start()
    seen: set[str] = set()
    async with workers(prosody) as (_, done):
        await _until_done(done, seen, JOBS // 3)
        await both[0].kill()
        await _until_done(done, seen, JOBS // 2)
        await both[0].start()
        await _until_done(done, seen, JOBS)
    for serving in both:
        assert await serving.stop() == 0
    assert {job.id for job in await ledger.jobs(JobStatus.DONE, limit=JOBS + 1)} == names
    await ledger.close()


async def test_one_of_two_controllers_answers_an_original_agent(
    prosody: Prosody, redis_server: RedisServer, run_controller: Make
) -> None:
    """Both get its question, for the server tells all of an account; the second answer would send it to sleep."""
    redis = SecretStr(redis_server.url)
    async with (
        run_controller(instance="alpha", redis=redis) as alpha,
        run_controller(instance="beta", redis=redis) as beta,
        peer(prosody, "agent1") as agent,
    ):
        await alpha.submit(SCRIPT)
        question = agent.say(prosody.jid("jm"), WantJob())
        await agent.hear(HaveJob)
        for _ in range(2):
            await agent.confirmed(question)
        assert await beta.ledger.waiting() == 1
        agent.say(f"{prosody.jid('jm')}/beta", GetJob())
        await agent.hear(RunJob)
        assert agent.messages.empty()
