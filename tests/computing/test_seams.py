"""Killed between any two lines of what an agent and a controller say to each other."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from tests.computing.infrastructure import Infrastructure, all_ended, opened, processes
from tests.servers.redis import RedisServer
from ucvm_agent.controller.ledger.redis_ledger import RedisLedger
from ucvm_agent.controller.model import JobStatus

JOBS = 16
WITHIN = 100.0


@pytest.fixture
async def site() -> AsyncIterator[Infrastructure]:
    """A site of four agents."""
    async with Infrastructure.open(agents=4) as site:
        yield site


@pytest.mark.timeout(2 * WITHIN)
async def test_two_controllers_share_one_redis_and_one_of_them_goes(site: Infrastructure, tmp_path: Path) -> None:
    """The other takes over what it has handed out: results, renewals and output, and each job runs once."""
    folder = tmp_path / "redis"
    folder.mkdir()
    ran = site.folder / "ran"
    ran.touch()
    ran.chmod(0o666)
    async with RedisServer(folder) as redis:
        ledger = RedisLedger(SecretStr(redis.url))
        await ledger.open()
        for number in range(JOBS):
            await site.submit(ledger, f"j-{number}", f"echo {number} >> {ran}; sleep 1")
        async with site.controller("alpha", redis.url) as alpha, site.controller("beta", redis.url) as beta:
            for agent in site.agents:
                await agent.start()
            async with asyncio.timeout(WITHIN):
                await alpha.until_ended(2)
            await alpha.kill()
            jobs = await all_ended(beta, ledger, JOBS, WITHIN)
            for agent in site.agents:
                assert await agent.end() == 0
            assert await beta.stop() == 0
        await ledger.close()
    assert {job.status for job in jobs} == {JobStatus.DONE}
    lost = sum(job.tries - 1 for job in jobs)
    assert JOBS <= len(ran.read_text().split()) <= JOBS + lost
    assert lost <= len(site.agents)  # what alpha was about to send when it was killed


async def test_the_controller_is_away_when_a_job_ends(site: Infrastructure) -> None:
    """The result is told when it is back, and again if nobody has heard it; the job runs once."""
    agent = site.agents[0]
    controller = site.controller(lease_seconds=60)
    ran = site.folder / "ran"
    ran.touch()
    ran.chmod(0o666)
    async with opened(controller.state_dir / "ledger.db") as ledger:
        await site.submit(ledger, "j", f"echo ran >> {ran}; sleep 1")
        async with controller:
            await agent.start()
            await controller.logged("machine reports job.running")
            await controller.kill()
            await agent.end(signal.SIGKILL)
            await agent.start()
            await controller.start()
            (job,) = await all_ended(controller, ledger, 1, WITHIN)
            assert await agent.end() == 0
            assert await controller.stop() == 0
    assert (job.status, job.tries) == (JobStatus.DONE, 1)
    assert ran.read_text() == "ran\n"
    assert site.output("j") == ""
    assert processes(agent.folder) == {}
