"""The show: 200 jobs through 8 agents while nearly everything is killed; the evidence is a table."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.computing.evidence import Evidence
from tests.computing.infrastructure import Infrastructure, all_ended, opened, power_cut, processes
from tests.daemon.running import Daemon
from tests.servers.prosody import Prosody
from tests.servers.serving import Serving
from ucvm_agent.controller.model import JobStatus

AGENTS = 8
JOBS = 200
SEED = 2013
WITHIN = 400.0
"""Seconds; alone on two cores it takes 50."""


@pytest.fixture
async def site() -> AsyncIterator[Infrastructure]:
    """A site of eight agents."""
    async with Infrastructure.open(agents=AGENTS) as site:
        yield site


@pytest.mark.timeout(WITHIN + 60)
async def test_every_job_is_done_once_whatever_is_killed(site: Infrastructure, tmp_path: Path) -> None:
    """Twice the XMPP server, two agents, a whole machine, and the controller, at moments by chance."""
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
            havoc = group.create_task(wreak(site, controller))
            jobs = await all_ended(controller, ledger, JOBS, WITHIN)
            restarts = await havoc
            seconds = time.monotonic() - begin
            for agent in site.agents:
                assert await agent.end() == 0
            assert await controller.stop() == 0
    orphans = [line for agent in site.agents for line in processes(agent.folder).values()]
    runs = {path.name: len(path.read_text().split()) for path in ran.iterdir()}
    evidence = Evidence(jobs, runs, restarts, orphans, seconds)
    keep(evidence.table(), tmp_path)
    assert {job.status for job in jobs} == {JobStatus.DONE}
    assert len({job.id for job in jobs}) == JOBS
    assert orphans == []
    for job in jobs:
        assert runs[job.id] <= job.tries
        assert site.output(job.id) == f"{job.id.removeprefix('job-')}\n"


async def wreak(site: Infrastructure, controller: Serving) -> list[str]:
    """Kill and start again, in an order and at moments that chance has chosen once; return what, and when."""
    chance = random.Random(SEED)
    agents = chance.sample(site.agents, 3)
    victims: list[Daemon | Prosody | Serving] = [site.prosody, site.prosody, controller, *agents]
    chance.shuffle(victims)
    moments = sorted(chance.uniform(0.1, 0.8) for _ in victims)
    restarts = []
    for moment, victim in zip(moments, victims, strict=True):
        await controller.until_ended(round(moment * JOBS))
        if not isinstance(victim, Daemon):
            name = "XMPP server" if isinstance(victim, Prosody) else "controller"
            await victim.kill()
        elif victim is agents[-1]:
            name = f"whole machine of {victim.folder.name}"
            await power_cut(victim)
        else:
            name = f"agent {victim.folder.name}"
            await victim.end(signal.SIGKILL)
        restarts.append(f"after {controller.ended:>3} jobs: {name} killed and started")
        await victim.start()
    return restarts


def keep(table: str, folder: Path) -> None:
    """Print the evidence, and keep it where the settings of the tests want it."""
    print(f"\n{table}")
    target = Path(os.environ.get("UCVM_EVIDENCE", folder))
    target.mkdir(parents=True, exist_ok=True)
    (target / "jobs.txt").write_text(f"{table}\n")
