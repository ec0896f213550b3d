"""Which accounts the jobs of the slots have: the real daemon on a machine that has them."""

from __future__ import annotations

import os

import pytest

from tests.jobs.gate import reach
from tests.jobs.machine import Machine
from tests.jobs.site import Site
from tests.servers.manager import Task, done
from ucvm_agent.copilot.messages import JobDone, WantJob

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes namespaces")

WHOSE = "id -un; stat -c %U . stdout; touch /tmp/mine; ls /tmp"


def prepared(site: Site, *accounts: str) -> Machine:
    """Return a machine of two slots with these accounts, which is still off."""
    site.configure(slots=2, user="job")
    machine = Machine.make(site.folder / "machine", site.daemon)
    machine.add_accounts(*accounts)
    return machine


async def test_each_slot_has_an_account_of_its_own(our_site: Site) -> None:
    """Jobs that run at the same time are those of two accounts, and so are their files."""
    site, machine = our_site, prepared(our_site, "job", "job-1", "job-2", "job-20")
    gate = site.make_gate()
    site.manager.queue += [Task("j-1", f"{WHOSE}; cat {gate}"), Task("j-2", WHOSE)]
    await machine.boot()
    descriptor = await reach(gate)
    await site.manager.hears(JobDone, wanted=done("j-2"))
    os.close(descriptor)
    await site.manager.hears(JobDone, wanted=done("j-1"))
    printed = sorted(site.manager.output(name, "stdout") for name in site.manager.given)
    assert printed == [f"job-{slot}\n" * 3 + "mine\n" for slot in (1, 2)]


async def test_a_machine_without_the_account_says_so_in_its_state(our_site: Site) -> None:
    """With what to do; nobody is asked for a job until that is done, and then at once."""
    site, machine = our_site, prepared(our_site, "other")
    site.manager.queue.append(Task("j-1", WHOSE))
    await machine.boot()
    told = await site.controller.reason("no job can be run here: jobs.user = 'job': the account of jobs does not exist")
    assert (told.state, told.reason.count("useradd")) == ("ready", 1)
    _, output, _ = await site.daemon.command("status")
    assert f"reason    {told.reason}" in output
    assert site.manager.heard(WantJob) == []
    machine.add_accounts("job")
    await site.manager.hears(JobDone)
    assert (await site.controller.state("working")).reason == ""


async def test_slots_without_accounts_share_one_and_that_is_told(our_site: Site) -> None:
    """In the log, with what to do."""
    site, machine = our_site, prepared(our_site, "job")
    site.manager.queue.append(Task("j-1", WHOSE))
    await machine.boot()
    await site.manager.hears(JobDone)
    assert site.manager.output("j-1", "stdout") == "job\n" * 3 + "mine\n"
    assert "slots share an account" in site.daemon.log.read_text()
