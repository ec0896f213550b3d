"""An operator looks after the jobs of a machine: the real daemon, XMPP and Chirp servers, and a scripted manager."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest

from tests.jobs.gate import reach
from tests.jobs.site import Site
from tests.operators.site import Person
from tests.servers.manager import Task, done
from ucvm_agent.copilot.messages import JobDone, JobState, WantJob


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    """A site whose manager is one of ours; `other` is an operator."""
    async with Site.open(ours=True) as site:
        yield site


async def operator(site: Site) -> Person:
    """Log the operator in, once the machine has asked for jobs."""
    await site.manager.hears(WantJob)
    return Person(site.prosody, "other", vm=site.manager.agent)


async def test_a_job_in_the_hands_of_an_operator(site: Site) -> None:
    """It is listed, what it writes is shown, and it is cancelled."""
    gate = site.make_gate()
    site.manager.queue.append(Task("job-1", f"printf 'so far\\001'; cat {gate}"))
    await site.daemon.start()
    descriptor = await reach(gate)
    async with await operator(site) as person:
        assert {"jobs", "tail", "pause", "resume", "drain", "cancel"} <= set(await person.commands())
        assert "slot 1: job-1, running since" in (await person.give("jobs")).text
        asked = await person.give("tail")
        assert asked.choices == {"job": ["job-1"], "stream": ["stdout", "stderr"]}
        assert (await person.give("tail", asked.session, job="job-1", stream="stdout")).text == "so far\ufffd"
        assert await person.say("tail") == "so far\ufffd"
        asked = await person.give("cancel")
        assert "is being ended" in (await person.give("cancel", asked.session, job="job-1")).text
        told = await site.manager.hears(JobState, wanted=lambda said: said.state == "cancelled")
        assert told.reason == f"cancelled by {site.prosody.jid('other')}"
        await site.controller.job("cancelled")
        assert "no slot has this job" in await person.say("cancel job-1")
        assert "no slot has a job" in await person.say("tail")
    os.close(descriptor)


async def test_pause_and_resume(site: Site) -> None:
    """A machine that is paused asks for nothing; a restart forgets the pause, but not that it drains."""
    await site.daemon.start()
    async with await operator(site) as person:
        assert "no more jobs are taken, until resume or a restart" in await person.say("pause")
        assert "paused by other@site.example" in (await site.controller.state("draining")).reason
        site.manager.queue.append(Task("job-1", "true"))
        await site.restart()
        await site.manager.hears(JobDone, wanted=done("job-1"))
    async with Person(site.prosody, "other", vm=site.manager.agent) as person:
        assert "no more jobs are taken" in await person.say("drain the rack moves")
        await site.controller.reason("drained by other@site.example: the rack moves")
    await site.restart()
    async with Person(site.prosody, "other", vm=site.manager.agent) as person:
        await site.controller.state("draining", times=3)
        await person.sees_vm()
        assert (await person.say("resume")).startswith("jobs are taken again")
        site.manager.queue.append(Task("job-2", "true"))
        await site.manager.hears(JobDone, wanted=done("job-2"))
