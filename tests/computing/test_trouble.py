"""What may come between the submission of a job and its end: orders, losses, and ends of everybody."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import pytest

from tests.computing.infrastructure import Infrastructure, power_cut, processes
from tests.controller.test_our_agent import becomes
from tests.jobs.gate import reach
from ucvm_agent.controller.controller import Controller
from ucvm_agent.controller.model import JobStatus, Machine
from ucvm_agent.events import JobPhase, State

PATIENCE = 60.0


@pytest.fixture
async def site() -> AsyncIterator[Infrastructure]:
    """A site of two agents."""
    async with Infrastructure.open(agents=2) as site:
        yield site


async def reported(controller: Controller, phase: JobPhase) -> None:
    """Return when a machine has told that a job is in a phase."""
    with controller.feed.subscribe() as changes:
        async with asyncio.timeout(PATIENCE):
            while not any(entry.event.name == f"job.{phase}" for entry in await controller.ledger.events(limit=1000)):
                await anext(changes)


async def noted(controller: Controller, part: str) -> None:
    """Return when a machine has told an operator of something."""
    with controller.feed.subscribe() as changes:
        async with asyncio.timeout(PATIENCE):
            while not any(
                part in entry.event.model_dump_json() for entry in await controller.ledger.events(limit=1000)
            ):
                await anext(changes)


async def in_state(controller: Controller, state: State, reason: str = "") -> Machine:
    """Return the machine that says that it is in a state for a reason."""
    with controller.feed.subscribe() as changes:
        async with asyncio.timeout(PATIENCE):
            while True:
                for machine in await controller.ledger.machines():
                    if machine.state is state and reason in machine.reason:
                        return machine
                await anext(changes)


@pytest.mark.parametrize("phase", [JobPhase.INPUT, JobPhase.RUNNING, JobPhase.UPLOADING])
async def test_a_job_is_cancelled_in_any_phase(site: Infrastructure, phase: JobPhase) -> None:
    """The agent is killed as soon as it may have heard so; the job ends all the same, and the next one is done."""
    agent = site.agents[0]
    go = site.folder / "go"
    script = "sleep 1000" if phase is JobPhase.RUNNING else f"until [ -e {go} ]; do sleep 0.1; done"
    async with site.run_controller() as controller:
        await site.submit(controller.ledger, "j", script)
        if phase is JobPhase.INPUT:
            await site.chirp.stop()
        await agent.start()
        await reported(controller, phase if phase is JobPhase.INPUT else JobPhase.RUNNING)
        if phase is JobPhase.UPLOADING:
            await site.chirp.stop()
            go.touch()
            await reported(controller, phase)
        await controller.orders.cancel("j", "not needed")
        await agent.end(signal.SIGKILL)
        await agent.start()
        await reported(controller, JobPhase.CANCELLED)
        job = await controller.ledger.job("j")
        assert job is not None
        assert (job.status, job.reason) == (JobStatus.CANCELLED, "not needed")
        if phase is not JobPhase.RUNNING:
            await site.chirp.start()
        await site.submit(controller.ledger, "next", "true")
        await becomes(controller, "next", JobStatus.DONE)
        assert await agent.end() == 0
    assert processes(agent.folder) == {}


async def test_a_job_that_is_cancelled_before_anybody_has_it_is_never_run(site: Infrastructure) -> None:
    """It is taken out of the queue."""
    async with site.run_controller() as controller:
        await site.submit(controller.ledger, "j", "true")
        await controller.orders.cancel("j", "")
        await site.submit(controller.ledger, "next", "true")
        await site.agents[0].start()
        await becomes(controller, "next", JobStatus.DONE)
        job = await controller.ledger.job("j")
        assert job is not None
        assert (job.status, job.tries) == (JobStatus.CANCELLED, 0)


async def test_a_job_comes_to_its_limit(site: Infrastructure) -> None:
    """Its processes end, and what it has printed is delivered."""
    async with site.run_controller() as controller:
        await site.submit(controller.ledger, "j", "echo begun; sleep 1000", wall_seconds=1)
        await site.agents[0].start()
        job = await becomes(controller, "j", JobStatus.FAILED)
        assert job.result is not None
        assert job.result.exit_status == signal.SIGTERM
        assert job.reason == "it came to its limit of time; its command ended with signal 15"
    assert site.output("j") == "begun\n"
    assert "ended_by=time" in site.output("j", "resources")


async def test_what_a_job_prints_is_followed_to_its_end(site: Infrastructure) -> None:
    """Through the orders of the controller, while it prints it."""
    gate = site.make_gate()
    async with site.run_controller() as controller:
        await site.submit(controller.ledger, "j", f"echo one; cat {gate}; echo two")
        await site.agents[0].start()
        descriptor = await reach(gate)
        text = b""
        async with asyncio.timeout(PATIENCE):
            async for piece in controller.orders.tail("j"):
                if not text:
                    os.close(descriptor)
                text += piece.data
        assert text == b"one\ntwo\n"


async def test_a_machine_is_drained_and_resumed(site: Infrastructure) -> None:
    """It finishes its job, takes no other, not even after a restart, and works again when it is told so."""
    agent = site.agents[0]
    async with site.run_controller() as controller:
        await site.submit(controller.ledger, "j-1", "sleep 1")
        await agent.start()
        machine = await in_state(controller, State.WORKING)
        await controller.orders.drain(machine.machine_id, "kernel update")
        await becomes(controller, "j-1", JobStatus.DONE)
        await in_state(controller, State.DRAINING, "no job is left")
        await site.submit(controller.ledger, "j-2", "true")
        await agent.end(signal.SIGKILL)
        await agent.start()
        await in_state(controller, State.DRAINING, "no job is left")
        assert await controller.ledger.waiting() == 1
        await controller.orders.resume(machine.machine_id)
        await becomes(controller, "j-2", JobStatus.DONE)


async def test_the_job_of_a_vanished_machine_is_done_by_another(site: Infrastructure) -> None:
    """Its lease runs out."""
    gone, other = site.agents
    async with site.run_controller() as controller:
        await site.submit(controller.ledger, "j", f"test -e {site.folder}/open || sleep 1000")
        await gone.start()
        await reported(controller, JobPhase.RUNNING)
        await power_cut(gone)
        (site.folder / "open").touch()
        await other.start()
        job = await becomes(controller, "j", JobStatus.DONE)
        assert job.tries == 2
        assert job.result is not None
        assert "vm2" in job.result.agent


async def test_a_job_that_takes_its_machine_down_is_given_up(site: Infrastructure) -> None:
    """After the third try, with the reason."""
    agent = site.agents[0]
    gate = site.make_gate()
    async with site.run_controller() as controller:
        await site.submit(controller.ledger, "j", f"cat {gate}", tries=3)
        for _ in range(3):
            await agent.start()
            descriptor = await reach(gate)
            await power_cut(agent)
            os.close(descriptor)
        await agent.start()
        job = await becomes(controller, "j", JobStatus.FAILED)
        assert job.tries == 3
        assert job.reason
