"""The machine restarts, because a manager wants it or not: the real daemon, XMPP server and job managers."""

from __future__ import annotations

import os
import signal

import pytest

from tests.jobs.gate import reach
from tests.jobs.machine import Machine
from tests.jobs.site import Site
from tests.servers.manager import Task, done
from ucvm_agent.copilot.messages import JobDone, JobState, Sleep, WantJob
from ucvm_agent.events import StateChanged

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes namespaces")

AGES = 1e6
"""Seconds of silence that no test waits for."""


@pytest.fixture
def machine(site: Site) -> Machine:
    """The machine of a site, which restarts when a manager says `sleep`."""
    site.configure(reboot_on_sleep=True, reboot_uptime=0)
    return Machine.make(site.folder / "machine", site.daemon)


def boots(site: Site, state: str) -> list[str]:
    """Return the boots in which the machine has told that it is in a state."""
    events = (event for event in site.controller.events if isinstance(event.body, StateChanged))
    return [event.boot_id for event in events if isinstance(event.body, StateChanged) and event.body.state == state]


async def test_a_manager_wants_a_restart(site: Site, machine: Machine) -> None:
    """It takes no job from then on, although there is one; power goes in that moment; the next boot does the job."""
    order = machine.listen()
    site.manager.answers[WantJob] = [lambda _: Sleep()]
    first = await machine.boot()
    told = await site.controller.state("draining")
    assert "it restarts in" in told.reason
    site.manager.queue.append(Task("job-1", "echo after"))
    assert await order == "--no-block reboot\n"
    assert site.manager.given == []
    await machine.lose_power()
    second = await machine.boot()
    assert (await site.manager.hears(JobDone)).exit_code == "0"
    await site.controller.job("done")
    assert boots(site, "draining") == [first]
    assert boots(site, "booting") == [first, second]
    assert site.manager.given == ["job-1"]


async def test_kill_9_between_the_order_and_the_restart(site: Site, machine: Machine) -> None:
    """The agent goes on in the same boot, says so, and takes jobs; nothing restarts behind its back."""
    site.configure(reboot_on_sleep=True, reboot_uptime=0, sleep_seconds=AGES)
    site.manager.answers[WantJob] = [lambda _: Sleep()]
    boot = await machine.boot()
    await site.controller.state("draining")
    site.manager.queue.append(Task("job-1", "true"))
    await site.restart()
    assert (await site.manager.hears(JobDone)).exit_code == "0"
    await site.controller.job("done")
    assert boots(site, "booting") == [boot, boot]
    assert site.controller.states.count("draining") == 1
    assert machine.told == ""


async def test_systemd_refuses_the_restart(site: Site, machine: Machine) -> None:
    """The machine takes jobs again, and tells why it is still there."""
    machine.refuse("an inhibitor is active")
    site.manager.answers[WantJob] = [lambda _: Sleep()]
    site.manager.queue.append(Task("job-1", "true"))
    await machine.boot()
    assert (await site.controller.note("does not restart")).message.endswith("an inhibitor is active")
    assert (await site.manager.hears(JobDone)).exit_code == "0"


async def test_a_machine_that_has_just_come_up_does_not_restart(site: Site, machine: Machine) -> None:
    """A manager that says `sleep` again and again does not make it go round in circles."""
    site.configure(reboot_on_sleep=True, reboot_uptime=AGES)
    site.manager.answers[WantJob] = [lambda _: Sleep()]
    site.manager.queue.append(Task("job-1", "true"))
    await machine.boot()
    await site.controller.note("not long ago")
    assert (await site.manager.hears(JobDone)).exit_code == "0"
    assert machine.told == ""


async def test_a_machine_with_a_job_does_not_restart(site: Site, machine: Machine) -> None:
    """The order is nothing to it."""
    gate = site.make_gate()
    site.manager.queue += [Task("job-1", f"cat {gate}"), Task("job-2", "true")]
    await machine.boot()
    descriptor = await reach(gate)
    site.manager.order(Sleep())
    os.close(descriptor)
    await site.manager.hears(JobDone, wanted=done("job-2"))
    assert machine.told == ""
    assert "draining" not in site.controller.states


async def test_a_shutdown_gives_the_job_back(site: Site, machine: Machine) -> None:
    """Its manager hears so before the machine is gone, and the next boot takes the next job."""
    gate = site.make_gate()
    site.manager.queue += [Task("job-1", f"cat {gate}"), Task("job-2", "true")]
    first = await machine.boot()
    descriptor = await reach(gate)
    await machine.shut_down()
    os.close(descriptor)
    if site.manager.ours:
        await site.manager.hears(JobState, wanted=lambda said: said.state == "lost")
    else:
        assert (await site.manager.hears(JobDone, wanted=done("job-1"))).exit_code == str(int(signal.SIGKILL))
    second = await machine.boot()
    assert (await site.manager.hears(JobDone, wanted=done("job-2"))).exit_code == "0"
    await site.controller.job("done")
    assert boots(site, "stopped") == [first]
    assert boots(site, "booting") == [first, second]


async def test_a_power_cut_loses_the_job(site: Site, machine: Machine) -> None:
    """The next boot says so, under its own id; nothing runs it again behind the manager's back."""
    gate = site.make_gate()
    site.manager.queue.append(Task("job-1", f"cat {gate}"))
    await machine.boot()
    descriptor = await reach(gate)
    await machine.lose_power()
    os.close(descriptor)
    second = await machine.boot()
    lost = await site.controller.job("lost")
    assert lost.reason == "the machine was restarted"
    (event,) = [event for event in site.controller.events if event.body == lost]
    assert event.boot_id == second
    assert site.manager.given == ["job-1"]
