"""The job agent as managers meet it: the real daemon, XMPP server and Chirp server, and a scripted manager."""

from __future__ import annotations

import base64
import json
import os
import signal
from collections.abc import Callable

import pytest

from tests.jobs.gate import reach
from tests.jobs.machine import Machine
from tests.jobs.site import Site
from tests.servers.imds import METADATA, Imds
from tests.servers.manager import Manager, Task, done
from ucvm_agent.copilot.messages import (
    FILE_SEPARATOR,
    CancelJob,
    Drain,
    Error,
    GetJob,
    GetOutputDir,
    JobDone,
    JobOutput,
    JobState,
    Message,
    Redirect,
    Resume,
    Sleep,
    TailJob,
    WantJob,
    WantOutputDir,
    content,
)


async def test_a_job_from_question_to_result(site: Site) -> None:
    """What it printed and how it ended is at the manager, and the machine is idle again.

    A manager of ours need not acknowledge what it answers.
    """
    site.manager.queue.append(Task("job-1", 'echo "hello $1"; exit 3', {"arguments": "world"}))
    await site.daemon.start()
    told = await site.manager.hears(JobDone)
    assert (told.job_id, told.exit_code, told.job_data) == ("job-1", "768", "startedAt=1363000000\n")
    assert (GetJob in site.manager.declined) == site.manager.ours
    assert site.manager.output("job-1", "stdout") == "hello world\n"
    assert (site.chirp.root / "job-1/job-1.tgz.sha256").read_text().startswith(told.checksum)
    await site.controller.job("done")
    await site.controller.state("ready", times=2)
    assert "working" in site.controller.states
    assert "job-1, done" in (await site.daemon.command("status"))[1]
    assert await site.daemon.end() == 0
    assert list((site.daemon.root / "work/jobs").iterdir()) == []


async def test_a_job_is_validated(site: Site) -> None:
    """Controllers see that, and how the job itself ended by then; its manager hears of both in the end."""
    gate = site.make_gate()
    script = f"printf '#!/bin/sh\ncat {gate}; exit 2' > check; exit 1"
    site.manager.queue.append(Task("job-1", script, {"validation_script": "check"}))
    await site.daemon.start()
    told = await site.controller.job("validating")
    assert (told.exit_status, told.validation_status) == (256, None)
    assert "job-1, validating" in (await site.daemon.command("status"))[1]
    os.close(await reach(gate))
    done = await site.manager.hears(JobDone)
    assert (done.exit_code, done.validate_exit_code) == ("256", "512")


async def test_user_data_alone_make_a_machine_a_worker(site: Site) -> None:
    """From its start without any account to the result of a job, and on after kill -9 while one runs."""
    site.configure(by_user_data=True)
    site.manager.queue.append(Task("job-1", "echo done"))
    await site.daemon.start()
    assert (await site.manager.hears(JobDone)).exit_code == "0"
    assert site.controller.states.count("contextualizing") == 1
    gate = site.make_gate()
    site.manager.queue.append(Task("job-2", f"read line < {gate}; echo went on"))
    opened = await reach(gate)
    await site.restart()
    os.close(opened)
    assert (await site.manager.hears(JobDone, times=2)).job_id == "job-2"
    assert site.manager.output("job-2", "stdout") == "went on\n"


@pytest.mark.parametrize("phase", ["received", "input", "running", "validating", "uploading", "done"])
async def test_kill_9_in_each_phase(site: Site, phase: str) -> None:
    """The next start goes on where the last one was; the job runs once and is reported once."""
    check = "printf '#!/bin/sh\nsleep 0.5' > check"
    script = f"echo ran >> {site.folder}/ran; {check}; sleep 0.5"
    site.manager.queue.append(Task("job-1", script, {"validation_script": "check"}))
    (site.folder / "ran").touch()
    (site.folder / "ran").chmod(0o666)
    await site.daemon.start()
    await site.controller.job(phase)
    await site.restart()
    await site.manager.hears(JobDone)
    await site.controller.job("done")
    await site.manager.hears(WantJob, times=len(site.manager.heard(WantJob)) + 2)
    assert (site.folder / "ran").read_text() == "ran\n"
    (done,) = site.manager.heard(JobDone)
    assert (done.exit_code, done.validate_exit_code) == ("0", "0")
    assert site.manager.given == ["job-1"]


async def test_kill_9_between_question_and_job(site: Site) -> None:
    """A job that comes for the question of an agent that is no more is taken by the next one."""
    site.configure(answer_seconds=20)
    held: list[GetJob] = []
    site.manager.answers[GetJob] = [held.append]
    site.manager.queue.append(Task("job-1", "true"))
    await site.daemon.start()
    await site.manager.hears(GetJob)
    await site.restart()
    await site.controller.state("ready", times=2)
    site.manager.order(site.manager.hand_out(site.manager.queue.pop(), held[0]))
    assert (await site.manager.hears(JobDone)).exit_code == "0"
    assert len(site.manager.heard(GetJob, lambda asked: asked.request == held[0].request)) == 1


async def test_a_job_twice(original_site: Site) -> None:
    """A manager hands out again what the machine still has: it runs once, and the result is that of both."""
    site = original_site
    site.configure(slots=2)
    gate = site.make_gate()
    job = Task("job-1", f"echo ran >> {site.folder}/ran; cat {gate}")
    (site.folder / "ran").touch()
    (site.folder / "ran").chmod(0o666)
    site.manager.queue += [job, job, Task("job-2", "true")]
    await site.daemon.start()
    await site.manager.hears(JobDone, wanted=done("job-2"))
    os.close(await reach(gate))
    await site.manager.hears(JobDone, wanted=done("job-1"))
    assert (site.folder / "ran").read_text() == "ran\n"
    assert len(site.manager.heard(JobDone)) == 2


async def test_two_managers_have_a_job_of_the_same_id(original_site: Site) -> None:
    """The second is refused, since both would have the same folder, and the first loses nothing by that."""
    site = original_site
    site.configure(slots=2)
    gate = site.make_gate()
    site.manager.queue.append(Task("job-1", f"cat {gate}; echo through"))
    async with Manager(site.prosody, site.chirp, "other") as other:
        await site.daemon.start()
        descriptor = await reach(gate)
        other.queue.append(Task("job-1", "true"))
        assert (await other.hears(JobDone)).exit_code == str(126 << 8)
        await other.hears(WantJob, times=len(other.heard(WantJob)) + 2)
        os.close(descriptor)
        await site.manager.hears(JobDone)
    assert site.manager.output("job-1", "stdout") == "through\n"


async def test_the_daemon_stops_and_starts_in_mid_job(site: Site) -> None:
    """The job goes on by itself meanwhile."""
    gate = site.make_gate()
    site.manager.queue.append(Task("job-1", f"cat {gate}; echo through"))
    await site.daemon.start()
    descriptor = await reach(gate)
    assert await site.daemon.end() == 0
    await site.daemon.start()
    os.close(descriptor)
    assert (await site.manager.hears(JobDone)).exit_code == "0"
    assert site.manager.output("job-1", "stdout") == "through\n"


async def test_given_back_at_a_stop(our_site: Site) -> None:
    """Where the settings want it, a job ends with the agent, and its manager can give it to another."""
    our_site.configure(at_stop="give-back")
    gate = our_site.make_gate()
    our_site.manager.queue.append(Task("job-1", f"cat {gate}"))
    await our_site.daemon.start()
    descriptor = await reach(gate)
    assert await our_site.daemon.end() == 0
    os.close(descriptor)
    await our_site.manager.hears(JobState, wanted=lambda said: said.state == "lost")


async def test_the_xmpp_server_is_away_in_mid_job(site: Site) -> None:
    """The job runs on, and its end is told when the server is back."""
    gate = site.make_gate()
    site.manager.queue.append(Task("job-1", f"cat {gate}"))
    await site.daemon.start()
    descriptor = await reach(gate)
    await site.prosody.kill()
    os.close(descriptor)
    await site.prosody.start()
    assert (await site.manager.hears(JobDone)).exit_code == "0"


async def test_a_job_that_cannot_be_run(site: Site) -> None:
    """It is refused with a reason: in the words of the manager's protocol."""
    site.manager.queue.append(Task("job-1", "true", {"command": "../../bin/sh"}))
    await site.daemon.start()
    assert "command" in (await site.controller.job("refused")).reason
    if site.manager.ours:
        assert (await site.manager.hears(JobState, wanted=lambda said: said.state == "refused")).reason
    else:
        assert (await site.manager.hears(JobDone)).exit_code == str(126 << 8)


@pytest.mark.skipif(os.geteuid() != 0, reason="makes namespaces")
async def test_a_supervisor_that_cannot_be_started(site: Site) -> None:
    """It costs this job only, and nothing of it has run; the slot takes the next one when it has waited a little."""
    machine = Machine.make(site.folder / "machine", site.daemon)
    program = machine.folder / "bin/systemd-run"
    text = program.read_text()
    program.write_bytes(b"")
    site.manager.queue.append(Task("job-1", "true"))
    await machine.boot()
    assert (await site.controller.job("refused")).reason.endswith("its supervisor cannot be started: Exec format error")
    if site.manager.ours:
        await site.manager.hears(JobState, wanted=lambda said: said.state == "refused")
    else:
        assert (await site.manager.hears(JobDone)).exit_code == str(126 << 8)
    program.write_text(text)
    site.manager.queue.append(Task("job-2", "true"))
    assert (await site.manager.hears(JobDone, wanted=done("job-2"))).exit_code == "0"
    assert site.controller.states.count("booting") == 1


async def test_an_input_that_does_not_come(our_site: Site) -> None:
    """People are told why the job does not begin; it is tried for hours."""
    inputs = json.dumps([{"name": "data.root", "url": "http://127.0.0.1:1/data.root"}])
    names = FILE_SEPARATOR.join(("run.sh", "data.root"))
    our_site.manager.queue.append(Task("job-1", "true", {"input_files": names, "inputs": inputs}))
    await our_site.daemon.start()
    note = await our_site.controller.note()
    assert "an input of job job-1 is delayed: http://127.0.0.1:1/data.root: no connection" in note.message


async def test_a_machine_that_cannot_run_a_job_says_that_it_pauses(our_site: Site) -> None:
    """Else it looks ready beside a queue that waits for it."""
    our_site.manager.queue.append(Task("job-1", "true", {"packages": "VO_X@nonsuch::1"}))
    await our_site.daemon.start()
    note = await our_site.controller.note()
    assert note.message == "no job is asked for during 0.5 s, since job job-1 could not be run here"


async def test_a_lost_job(site: Site) -> None:
    """Its supervisor was killed with it: the manager is told, and the slot takes the next job."""
    gate = site.make_gate()
    site.manager.queue.append(Task("job-1", f"cat {gate}"))
    await site.daemon.start()
    descriptor = await reach(gate)
    await site.daemon.end(signal.SIGKILL)
    beginning = site.daemon.root / "work/control/job-1/beginning"
    text = beginning.read_text()
    beginning.write_text(text.replace(_boot(text), "00000000-0000-0000-0000-000000000000"))
    site.manager.queue.append(Task("job-2", "true"))
    await site.daemon.start()
    assert "restarted" in (await site.controller.job("lost")).reason
    assert (await site.manager.hears(JobDone, wanted=done("job-2"))).exit_code == "0"
    os.close(descriptor)


async def test_a_demanded_file(original_site: Site) -> None:
    """What is there is found; what is not there, or may not be looked for, gets no job and is reported."""
    site = original_site
    (site.folder / "cvmfs").mkdir()
    site.configure(require_prefixes=[str(site.folder / "cvmfs")])
    site.manager.queue.append(Task("job-1", "true"))
    site.manager.require_file = "/etc/passwd"
    await site.daemon.start()
    note = await site.controller.note()
    assert "/etc/passwd" in note.message
    assert site.manager.given == []
    site.manager.require_file = str(site.folder / "cvmfs")
    assert (await site.manager.hears(JobDone)).exit_code == "0"


@pytest.mark.parametrize("answer", [Sleep(), Error(error_string="no ticket")])
async def test_sleep_and_error(original_site: Site, answer: Sleep | Error) -> None:
    """The agent is quiet for a while, and asks again; the machine is not restarted."""
    site = original_site
    site.manager.answers[WantJob] = [lambda _: answer]
    site.manager.queue.append(Task("job-1", "true"))
    await site.daemon.start()
    assert (await site.manager.hears(JobDone)).exit_code == "0"


async def test_redirections(original_site: Site) -> None:
    """A manager sends the agent on to another one, in the middle of a conversation; nobody else may be named."""
    site = original_site
    async with Manager(site.prosody, site.chirp, "other") as other:
        other.answers = {
            WantJob: [lambda _: None] * 100,
            WantOutputDir: [redirection(site.prosody.jid("mallory")), redirection(site.prosody.jid("jm"))],
        }
        other.queue.append(Task("job-1", "true"))
        site.manager.answers = {GetJob: [redirection(site.prosody.jid("other"))]}
        site.manager.queue.append(Task("job-0", "false"))
        await site.daemon.start()
        assert (await site.manager.hears(JobDone)).job_id == "job-1"
        assert other.given == ["job-1"]
        assert not other.heard(JobDone)


def redirection(to: str) -> Callable[[Message], Redirect]:
    return lambda message: Redirect(referral=to, info=dict(content(message)["info"]))  # type: ignore[arg-type]  # a hash


async def test_a_manager_that_breaks_off(original_site: Site) -> None:
    """No job after an offer, no place after one: both are asked for again."""
    site = original_site
    site.configure(answer_seconds=0.5, output_answer_seconds=0.5)
    site.manager.answers[GetJob] = [lambda _: None]
    site.manager.answers[GetOutputDir] = [lambda _: None]
    site.manager.queue.append(Task("job-1", "true"))
    await site.daemon.start()
    assert (await site.manager.hears(JobDone)).exit_code == "0"
    assert len(site.manager.heard(GetJob)) == 2


async def test_cancel(our_site: Site) -> None:
    """The job's processes end, the manager is told, and nothing is uploaded."""
    site = our_site
    gate = site.make_gate()
    site.manager.queue.append(Task("job-1", f"cat {gate}"))
    await site.daemon.start()
    descriptor = await reach(gate)
    site.manager.order(CancelJob(job_id="job-1"))
    told = await site.manager.hears(JobState, wanted=lambda said: said.state == "cancelled")
    assert (told.job_id, told.reason) == ("job-1", f"{site.prosody.jid('jm')} wants it")
    os.close(descriptor)
    assert not (site.chirp.root / "job-1/job-1.tgz").exists()


async def test_tail(our_site: Site) -> None:
    """The manager gets what the job has printed, and what it goes on to print, until its end."""
    site = our_site
    gate = site.make_gate()
    site.manager.queue.append(Task("job-1", f"echo first; cat {gate}; echo second"))
    await site.daemon.start()
    descriptor = await reach(gate)
    site.manager.order(TailJob(job_id="job-1", request="r-1"))
    first = await site.manager.hears(JobOutput)
    assert (base64.b64decode(first.data), first.request) == (b"first\n", "r-1")
    os.close(descriptor)
    await site.manager.hears(JobDone)


async def test_leases_are_renewed(our_site: Site) -> None:
    """While a job runs, its manager hears so again and again, under its lease."""
    site = our_site
    gate = site.make_gate()
    site.manager.queue.append(Task("job-1", f"cat {gate}"))
    await site.daemon.start()
    descriptor = await reach(gate)
    told = await site.manager.hears(JobState, times=4)
    assert told.lease
    os.close(descriptor)
    assert (await site.manager.hears(JobDone)).lease == told.lease


async def test_drain_and_resume(our_site: Site) -> None:
    """The job at hand is finished, no other is taken, not even after a restart, until the order to resume."""
    site = our_site
    gate = site.make_gate()
    site.manager.queue.append(Task("job-1", f"cat {gate}"))
    await site.daemon.start()
    descriptor = await reach(gate)
    site.manager.queue.append(Task("job-2", "true"))
    site.manager.order(Drain(reason="kernel update"))
    assert (await site.controller.state("draining")).reason == "kernel update"
    os.close(descriptor)
    await site.manager.hears(JobDone, wanted=done("job-1"))
    await site.controller.reason("kernel update: no job is left")
    await site.restart()
    await site.controller.state("draining", times=3)
    assert site.manager.given == ["job-1"]
    site.manager.order(Resume())
    await site.manager.hears(JobDone, wanted=done("job-2"))


async def test_a_spot_notice_drains(our_site: Site) -> None:
    """EC2 will take the instance away: the job at hand is finished, and the reason is told."""
    site = our_site
    notice = {"spot/instance-action": '{"action": "terminate", "time": "2017-09-18T08:22:00Z"}'}
    async with Imds(b"#cloud-config\n{}\n", metadata=METADATA | notice) as imds:
        site.configure(source={"sources": {"names": ["ec2"]}, "sources.ec2": {"endpoints": [imds.url]}})
        await site.daemon.start()
        told = await site.controller.state("draining")
    assert told.reason.startswith("EC2 will terminate this instance at 2017-09-18T08:22:00Z")


async def test_a_full_disk_drains(our_site: Site) -> None:
    """With too little space no job is taken, and the reason is told."""
    our_site.configure(min_free_bytes=2**62)
    our_site.manager.queue.append(Task("job-1", "true"))
    await our_site.daemon.start()
    assert "MiB are free" in (await our_site.controller.state("draining")).reason


async def test_several_slots(site: Site) -> None:
    """Jobs run at the same time, each answer finds its slot, and each job runs once."""
    site.configure(slots=3)
    names = [f"job-{number}" for number in range(6)]
    site.manager.queue.extend(Task(name, "sleep 0.2; pwd") for name in names)
    await site.daemon.start()
    await site.manager.hears(JobDone, times=len(names))
    assert sorted(site.manager.given) == names
    assert [site.manager.output(name, "stdout").strip().rpartition("/")[2] for name in names] == names


def _boot(beginning: str) -> str:
    return str(json.loads(beginning)["boot"])
