"""Agents of ours and controllers of ours, as a group uses them: every part is the real one, in its own process."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.computing.infrastructure import Infrastructure, all_ended, opened
from tests.controller.peer import Peer, peer
from tests.controller.test_our_agent import becomes
from ucvm_agent.controller.counters import Count
from ucvm_agent.controller.model import JobStatus
from ucvm_agent.copilot.messages import ReportEvent


@pytest.fixture
async def site() -> AsyncIterator[Infrastructure]:
    """A site of two agents."""
    async with Infrastructure.open(agents=2) as site:
        yield site


async def test_a_job_from_submission_to_output(site: Infrastructure) -> None:
    """Its input comes from the Chirp server, its output goes there and is put away; how it ended is in the ledger."""
    controller = site.controller()
    async with opened(controller.state_dir / "ledger.db") as ledger:
        await site.submit(ledger, "j-0", "echo hello; exit 0")
        await site.submit(ledger, "j-1", "echo no >&2; exit 3")
        async with controller:
            for agent in site.agents:
                await agent.start()
            jobs = {job.id: job for job in await all_ended(controller, ledger, 2, within=60)}
            for agent in site.agents:
                assert await agent.end() == 0
            assert await controller.stop() == 0
    assert jobs["j-0"].status is JobStatus.DONE
    assert jobs["j-1"].status is JobStatus.FAILED
    assert jobs["j-1"].result is not None
    assert jobs["j-1"].result.exit_status == 3 << 8
    assert site.output("j-0") == "hello\n"
    assert site.output("j-1", "stderr") == "no\n"


async def test_a_job_that_comes_to_an_empty_queue_is_done_at_once(site: Infrastructure) -> None:
    """The agents have asked, and wait minutes until they ask again; the controller answers when a job comes."""
    async with peer(site.prosody, "mon") as monitor, site.run_controller() as controller:
        for agent in site.agents:
            await agent.start()
        await asked_in_vain(monitor, len(site.agents))
        for number in range(4):
            await site.submit(controller.ledger, f"j-{number}", "sleep 1")
        jobs = [await becomes(controller, f"j-{number}", JobStatus.DONE) for number in range(4)]
        assert len({job.result.machine_id for job in jobs if job.result}) == 2
        last = await site.submit(controller.ledger, "j-last", "true")
        done = await becomes(controller, "j-last", JobStatus.DONE)
        assert done.result is not None
        assert (done.result.ended - last.submitted).total_seconds() < 10


async def asked_in_vain(monitor: Peer, times: int) -> None:
    """Return when so many questions for a job have found none."""
    for _ in range(times):
        while (await monitor.hear(ReportEvent))[0].event != Count.EMPTY:
            pass
