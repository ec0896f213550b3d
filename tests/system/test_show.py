"""The show: 200 jobs through 8 agents while nearly everything is killed; the evidence is a table."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.daemon import Daemon
from tests.servers.serving import Serving
from tests.system.evidence import Evidence, orphans
from tests.system.infrastructure import Infrastructure, all_ended, opened
from ucvm_agent.controller.base import Ledger
from ucvm_agent.controller.model import Job, JobStatus

AGENTS = 8
JOBS = 200
SEED = 2013
WITHIN = 110.0


@pytest.fixture
async def site() -> AsyncIterator[Infrastructure]:
    """A site of eight agents."""
    async with Infrastructure.open(agents=AGENTS) as site:
        yield site


async def test_every_job_is_done_once_whatever_is_killed(site: Infrastructure, tmp_path: Path) -> None:
    """Two restarts of the XMPP server, two agents and one controller killed in the middle, at moments by chance."""
    ran = site.folder / "ran"
    ran.mkdir()
    ran.chmod(0o777)
    controller = site.controller()
    async with opened(controller.state_dir / "ledger.db") as ledger:
        for number in range(JOBS):
            await site.submit(ledger, f"job-{number}", f"echo x >> {ran}/job-{number}; echo {number}; sleep 0.2")
        begin = time.monotonic()
        async with controller, asyncio.TaskGroup() as group:
            for agent in site.agents:
                await agent.start()
            havoc = group.create_task(wreak(site, controller, ledger))
            jobs = await all_ended(ledger, JOBS, WITHIN)
            restarts = await havoc
            seconds = time.monotonic() - begin
            for agent in site.agents:
                assert await agent.end() == 0
            assert await controller.stop() == 0
    runs = {path.name: len(path.read_text().split()) for path in ran.iterdir()}
    evidence = Evidence(jobs, runs, restarts, orphans(site.folder), seconds)
    keep(evidence.table(), tmp_path)
    assert {job.status for job in jobs} == {JobStatus.DONE}
    assert len({job.id for job in jobs}) == JOBS
    assert evidence.orphans == []
    for job in jobs:
        assert site.output(job.id) == f"{job.id.removeprefix('job-')}\n"


async def wreak(site: Infrastructure, controller: Serving, ledger: Ledger) -> Counter[str]:
    """Kill and start again, in an order and at moments that chance has chosen once."""
    chance = random.Random(SEED)
    first, second = chance.sample(site.agents, 2)
    works = [site.prosody, first, controller, site.prosody, second]
    chance.shuffle(works)
    moments = sorted(chance.uniform(0.1, 0.8) for _ in works)
    restarts: Counter[str] = Counter()
    for moment, victim in zip(moments, works, strict=True):
        await _done(ledger, round(moment * JOBS))
        restarts[type(victim).__name__] += 1
        if isinstance(victim, Daemon):
            await victim.end(signal.SIGKILL)
        else:
            await victim.kill()
        await victim.start()
    return restarts


async def _done(ledger: Ledger, count: int) -> None:
    """Return when so many jobs are done."""
    while (await ledger.summary()).done < count:
        await asyncio.sleep(0.1)


def keep(table: str, folder: Path) -> None:
    """Print the evidence, and keep it where the settings of the tests want it."""
    print(f"\n{table}")
    target = Path(os.environ.get("UCVM_EVIDENCE", folder))
    target.mkdir(parents=True, exist_ok=True)
    (target / "jobs.txt").write_text(f"{table}\n")
