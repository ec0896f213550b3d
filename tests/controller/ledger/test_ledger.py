"""What a ledger keeps, whether it is in SQLite or in Redis."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from ucvm_agent.controller.ledger.base import Admission, Kind, Ledger, Notice, Reception
from ucvm_agent.controller.model import Description, Input, Job, JobStatus, Result
from ucvm_agent.errors import JobExists, UsageError
from ucvm_agent.events import AnyBody, Event, Note, State, StateChanged

NOW = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
SCRIPT = Description(command="run.sh", input_files=("run.sh",), arguments="-n 100")
FETCHED = Description(command="run.sh", inputs=(Input(name="run.sh", url="https://data.example/run.sh"),))


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def event(body: AnyBody, machine_id: str = "m1", seq: int = 1) -> Event:
    return Event(id=str(uuid.uuid4()), machine_id=machine_id, boot_id="b", seq=seq, time=NOW, monotonic=1.0, body=body)


async def submit(ledger: Ledger, id: str = "", **more: int) -> Job:  # noqa: A002 - as the field is called
    return await ledger.submit(SCRIPT, now=NOW, id=id, **more)


async def take(ledger: Ledger, agent: str = "vm@site.example/r", machine_id: str = "m1", at: float = 0) -> Job:
    job = await ledger.take(agent, machine_id=machine_id, host="vm1", now=later(at), seconds=180)
    assert job is not None
    assert job.lease is not None
    return job


def lease(job: Job) -> str:
    assert job.lease is not None
    return job.lease.id


def result(job: Job, agent: str = "vm@site.example/r", status: int = 0, at: float = 60) -> Result:
    assert job.lease is not None
    place = {"machine_id": job.lease.machine_id, "host": job.lease.host}
    return Result(lease=job.lease.id, agent=agent, **place, exit_status=status, ended=later(at), seconds=at)


async def test_jobs_are_handed_out_in_their_order(ledger: Ledger) -> None:
    """First in, first out; then there is none."""
    ids = [(await submit(ledger)).id for _ in range(3)]
    assert await ledger.waiting() == 3
    assert [(await take(ledger)).id for _ in range(3)] == ids
    assert await ledger.take("vm@x/r", machine_id="", host="", now=NOW, seconds=1) is None
    assert await ledger.waiting() == 0


async def test_a_job_is_all_there_after_it_was_handed_out(ledger: Ledger) -> None:
    """Its description, who has it until when, and the token of this lease only."""
    await submit(ledger, "j")
    job = await take(ledger)
    assert (job.status, job.tries, job.description) == (JobStatus.RUNNING, 1, SCRIPT)
    assert job.lease is not None
    assert (job.lease.agent, job.lease.expires) == ("vm@site.example/r", later(180))
    assert await ledger.job("j") == job
    token = job.token.get_secret_value()
    assert token
    assert token not in repr(job) + job.model_dump_json()
    await ledger.give_back("j", lease(job), "lost", now=later(1))
    assert (await take(ledger)).token.get_secret_value() not in ("", token)


async def test_a_job_is_never_handed_out_twice(ledger: Ledger) -> None:
    """However many ask at the same time."""
    ids = {(await submit(ledger)).id for _ in range(100)}
    asked = [ledger.take(f"vm{n}@x/r", machine_id=f"m{n}", host="", now=NOW, seconds=60) for n in range(150)]
    taken = [job.id for job in await asyncio.gather(*asked) if job]
    assert len(taken) == 100
    assert set(taken) == ids


async def test_a_job_that_an_original_agent_cannot_run_waits_for_one_of_ours(ledger: Ledger) -> None:
    """Also when it comes back; ours get all jobs in their order, original ones the rest."""
    await ledger.submit(FETCHED, now=NOW, id="fetched")
    assert await ledger.offers("m1")
    assert not await ledger.offers("")
    assert await ledger.take("old@x/r", machine_id="", host="", now=NOW, seconds=1) is None
    await submit(ledger, "first")
    await ledger.submit(SCRIPT.model_copy(update={"ours_only": True}), now=NOW, id="kept")
    await submit(ledger, "second")
    assert (await ledger.waiting(), (await ledger.summary()).waiting) == (4, 4)
    job = await take(ledger)
    assert job.id == "fetched"
    await ledger.give_back("fetched", lease(job), "lost", now=NOW)
    assert (await take(ledger, "old@x/r", "")).id == "first"
    assert [(await take(ledger)).id for _ in range(3)] == ["fetched", "kept", "second"]


async def test_an_id_is_used_once(ledger: Ledger) -> None:
    """And it can be the name of a folder."""
    await submit(ledger, "j")
    with pytest.raises(JobExists):
        await submit(ledger, "j")
    for bad in ("..", "a/b", "a b", "x" * 129):
        with pytest.raises(UsageError):
            await submit(ledger, bad)


async def test_a_lease_lasts_as_long_as_it_is_extended(ledger: Ledger) -> None:
    """Only its holder can extend it."""
    await submit(ledger, "j")
    job = await take(ledger)
    assert await ledger.expired(now=later(179)) == []
    assert [job.id for job in await ledger.expired(now=later(180))] == ["j"]
    assert await ledger.extend("j", lease(job), now=later(100), seconds=180)
    assert await ledger.expired(now=later(180)) == []
    assert not await ledger.extend("j", "another", now=later(100), seconds=180)
    assert not await ledger.extend("nobody", lease(job), now=later(100), seconds=180)


async def test_a_lost_job_goes_to_the_head_of_the_queue(ledger: Ledger) -> None:
    """Before those that never ran; its old lease is good for nothing any more."""
    await submit(ledger, "first")
    await submit(ledger, "second")
    job = await take(ledger)
    back = await ledger.give_back("first", lease(job), "vm1 was silent", now=later(200))
    assert back is not None
    assert (back.status, back.reason, back.lease) == (JobStatus.WAITING, "vm1 was silent", None)
    assert await ledger.give_back("first", lease(job), "again", now=later(201)) is None
    assert not await ledger.extend("first", lease(job), now=later(201), seconds=60)
    assert await ledger.waiting() == 2
    assert [(await take(ledger)).id for _ in range(2)] == ["first", "second"]


async def test_a_job_is_failed_after_its_last_try(ledger: Ledger) -> None:
    """A try that nobody can have made does not count."""
    await submit(ledger, "j", max_tries=2)
    for tried in (True, False, False, True):
        job = await take(ledger)
        await ledger.give_back("j", lease(job), "lost", now=NOW, tried=tried)
    job = await ledger.job("j") or job
    assert (job.status, job.tries, job.reason) == (JobStatus.FAILED, 2, "lost")
    assert await ledger.waiting() == 0


async def test_a_job_has_one_result(ledger: Ledger) -> None:
    """The first counts, the second is dropped."""
    await submit(ledger, "j")
    job = await take(ledger)
    done = await ledger.finish("j", result(job))
    assert done is not None
    assert (done.status, done.result) == (JobStatus.DONE, result(job))
    assert await ledger.finish("j", result(job, status=256)) is None
    assert await ledger.job("j") == done
    assert await ledger.expired(now=later(1e6)) == []


async def test_where_a_job_has_run_is_what_its_lease_says(ledger: Ledger) -> None:
    """A result that names another machine does not make the job that machine's."""
    await submit(ledger, "j")
    job = await take(ledger)
    done = await ledger.finish("j", result(job).model_copy(update={"machine_id": "m2", "host": "vm2"}))
    assert done is not None
    assert done.result == result(job)
    await submit(ledger, "late")
    job = await take(ledger)
    await ledger.give_back("late", lease(job), "silent", now=later(200))
    done = await ledger.finish("late", result(job).model_copy(update={"machine_id": "m2"}))
    assert done is not None
    assert done.result is not None
    assert done.result.machine_id == ""


async def test_a_result_that_comes_late_counts(ledger: Ledger) -> None:
    """From a lease that has run out, while the job waits again or somebody else has it."""
    for again in (False, True):
        name = f"j{again}"
        await submit(ledger, name)
        job = await take(ledger)
        await ledger.give_back(name, lease(job), "silent", now=later(200))
        if again:
            await take(ledger, "other@site.example/r", "m2")
        done = await ledger.finish(name, result(job))
        assert done is not None
        assert done.status is JobStatus.DONE
        assert await ledger.waiting() == 0
        assert await ledger.take("vm@x/r", machine_id="", host="", now=NOW, seconds=1) is None


async def test_a_result_counts_only_from_who_had_the_job(ledger: Ledger) -> None:
    """By lease and account; an original agent's by its account, from any of its resources."""
    await submit(ledger, "j")
    job = await take(ledger, "old@site.example/a", "")
    assert await ledger.finish("j", result(job, "thief@site.example/r")) is None
    assert await ledger.finish("j", result(job, "old@site.example/a").model_copy(update={"lease": "no"})) is None
    assert await ledger.finish("nobody", result(job)) is None
    unleased = result(job, "old@site.example/b", 768).model_copy(update={"lease": ""})
    done = await ledger.finish("j", unleased)
    assert done is not None
    assert (done.status, done.result and done.result.lease) == (JobStatus.FAILED, lease(job))
    assert "code 3" in done.reason


async def test_a_cancelled_job_stays_so(ledger: Ledger) -> None:
    """Whether it waits or runs; the caller learns who has to be told."""
    await submit(ledger, "waits")
    await submit(ledger, "runs")
    assert (await ledger.cancel("waits", "not needed", now=NOW) or SCRIPT) != SCRIPT
    job = await take(ledger)
    before = await ledger.cancel("runs", "not needed", now=NOW)
    assert before == job
    assert await ledger.cancel("runs", "again", now=NOW) is None
    assert await ledger.finish("runs", result(job)) is None
    assert await ledger.give_back("runs", lease(job), "x", now=NOW) is None
    assert [job.status for job in await ledger.jobs()] == [JobStatus.CANCELLED] * 2
    assert await ledger.waiting() == 0


async def test_jobs_are_listed_page_by_page(ledger: Ledger) -> None:
    """The latest first, all or those in one state."""
    for number in range(5):
        await submit(ledger, f"j{number}")
    await take(ledger)
    assert [job.id for job in await ledger.jobs(limit=2)] == ["j4", "j3"]
    assert [job.id for job in await ledger.jobs(limit=9, before="j3")] == ["j2", "j1", "j0"]
    assert [job.id for job in await ledger.jobs(JobStatus.RUNNING)] == ["j0"]
    assert [job.id for job in await ledger.jobs(JobStatus.WAITING, limit=1, before="j4")] == ["j3"]


async def test_throughput_tells_what_ended_when(ledger: Ledger) -> None:
    """In spans of equal length, empty ones included."""
    for number, (at, status) in enumerate(((10, 0), (20, 256), (130, 0))):
        await submit(ledger, f"j{number}")
        await ledger.finish(f"j{number}", result(await take(ledger), at=at, status=status))
    spans = await ledger.throughput(since=NOW, now=later(179), seconds=60)
    assert [(span.begin, span.done, span.failed) for span in spans] == [
        (NOW, 1, 1),
        (later(60), 0, 0),
        (later(120), 1, 0),
    ]


async def test_an_original_agent_has_to_wait_between_its_questions(ledger: Ledger) -> None:
    """A question that is refused does not put off the next; of several controllers one answers."""
    ask = ledger.admit
    assert await ask("vm@x", "q1", now=NOW, cooldown=60) is Admission.ADMITTED
    assert await ask("vm@x", "q1", now=later(1), cooldown=60) is Admission.TAKEN
    assert await ask("vm@x", "q2", now=later(59), cooldown=60) is Admission.TOO_SOON
    assert await ask("vm@x", "q3", now=later(60), cooldown=60) is Admission.ADMITTED
    assert await ask("other@x", "q4", now=later(60), cooldown=60) is Admission.ADMITTED


async def test_machines_are_as_their_events_tell(ledger: Ledger) -> None:
    """State, reason, last failure, jobs, presence; an event counts once."""
    failed = event(StateChanged(state=State.DEGRADED, reason="no space"))
    assert await ledger.record(failed, "vm@x/r", now=NOW) is Reception.NEW
    assert await ledger.record(failed, "vm@x/r", now=NOW) is Reception.KNOWN
    ready = event(StateChanged(state=State.READY), seq=2)
    assert await ledger.record(ready, "vm@x/s", now=later(5)) is Reception.NEW
    assert await ledger.claim("m1", "vm@x/other", host="vm1", now=later(6))
    await ledger.present("m1", "vm@x/s", online=True, now=later(6))
    await ledger.record(event(Note(message="x"), "m2"), "vm2@x/r", now=later(7))
    await ledger.present("m3", "vm3@x/r", online=True, now=later(8))  # which has never reported
    await submit(ledger, "j")
    await take(ledger)
    assert [machine.machine_id for machine in await ledger.machines()] == ["m2", "m1"]
    machine = await ledger.machine("m1")
    assert machine is not None
    assert (machine.state, machine.failure, machine.jid, machine.host) == (State.READY, "no space", "vm@x/s", "vm1")
    assert (machine.online, machine.jobs, machine.since, machine.seen) == (True, ("j",), NOW, later(6))
    summary = await ledger.summary()
    assert (summary.machines, summary.online, summary.states) == (2, 1, {"ready": 1})
    assert (summary.waiting, summary.running) == (0, 1)
    assert await ledger.machine("nobody") is None


async def test_all_machines_are_listed_if_that_is_asked_for(ledger: Ledger) -> None:
    """However many there are; otherwise those that were heard of last."""
    names = [f"m{number}" for number in range(1200)]
    claims = [ledger.claim(name, "vm@x/r", now=later(number)) for number, name in enumerate(names)]
    assert all(await asyncio.gather(*claims))
    assert [machine.machine_id for machine in await ledger.machines(limit=None)] == names[::-1]
    assert [machine.machine_id for machine in await ledger.machines()] == names[:199:-1]


async def test_a_machine_is_the_account_s_that_reported_first(ledger: Ledger) -> None:
    """What others say of it is dropped, and counted; an account may have many machines."""
    await ledger.record(event(StateChanged(state=State.READY)), "vm@x/r", now=NOW)
    claim = event(StateChanged(state=State.FAILED, reason="ha"), seq=2)
    for at in (1, 2):
        assert await ledger.record(claim, f"thief@x/{at}", now=later(at)) is Reception.REFUSED
    await ledger.present("m1", "thief@x/r", online=True, now=later(3))
    machine = await ledger.machine("m1")
    assert machine is not None
    assert (machine.jid, machine.state, machine.online, machine.seen) == ("vm@x/r", State.READY, False, NOW)
    assert (machine.refused, machine.refused_from) == (2, "thief@x/2")
    assert [entry.event.seq for entry in await ledger.events()] == [1]
    assert await ledger.record(event(Note(message="x"), "m2"), "vm@x/s", now=NOW) is Reception.NEW
    assert await ledger.forget_machine("m1", before=later(4))
    assert await ledger.record(claim, "thief@x/1", now=later(5)) is Reception.NEW


async def test_a_machine_is_the_account_s_that_asked_first(ledger: Ledger) -> None:
    """Before it has reported anything; it is called what its account says, and others cannot change that."""
    assert await ledger.claim("m1", "vm@x/r", host="wn1", instance_id="i-1", now=NOW)
    assert not await ledger.claim("m1", "thief@x/r", host="wn2", instance_id="i-2", now=later(1))
    assert await ledger.record(event(Note(message="x")), "thief@x/r", now=later(2)) is Reception.REFUSED
    machine = await ledger.machine("m1")
    assert machine is not None
    assert (machine.jid, machine.host, machine.instance_id, machine.state) == ("vm@x/r", "wn1", "i-1", None)
    assert (machine.refused, machine.refused_from, machine.seen) == (2, "thief@x/r", NOW)
    assert await ledger.claim("m1", "vm@x/other", host="renamed", now=later(9_000))
    machine = await ledger.machine("m1")
    assert machine is not None
    assert (machine.jid, machine.host, machine.instance_id) == ("vm@x/r", "renamed", "i-1")
    assert machine.seen == later(9_000)
    assert await ledger.claim("m2", "vm@x/r", now=NOW)
    assert await ledger.forget_machine("m1", before=later(9_001))
    assert await ledger.claim("m1", "thief@x/r", now=later(9_002))


async def test_a_machine_is_forgotten_with_its_events(ledger: Ledger) -> None:
    """One that is silent, away, and has no job; but not if it is heard of meanwhile."""
    for number, name in enumerate(("away", "there", "works", "other")):
        await ledger.record(event(StateChanged(state=State.READY), name), "vm@x/r", now=later(number))
    await ledger.present("there", "vm@x/r", online=True, now=later(1))
    await submit(ledger)
    await take(ledger, machine_id="works")
    assert [machine.machine_id for machine in await ledger.silent(later(3))] == ["away"]
    assert not await ledger.forget_machine("away", before=NOW)
    assert await ledger.forget_machine("away", before=later(1))
    assert not await ledger.forget_machine("away", before=later(1))
    assert await ledger.machine("away") is None
    assert {entry.event.machine_id for entry in await ledger.events()} == {"there", "works", "other"}
    assert await ledger.events("away") == []
    summary = await ledger.summary()
    assert (summary.machines, summary.states) == (3, {"ready": 3})


async def test_a_job_that_has_ended_is_forgotten(ledger: Ledger) -> None:
    """The one that is meant, and no other that has its id by now; nothing of it stays."""
    for number in range(3):
        job = await submit(ledger, f"j{number}")
        assert not await ledger.forget(job)
        await ledger.finish(job.id, result(await take(ledger), at=number))
    await submit(ledger, "waits")
    assert [job.id for job in await ledger.ended(later(2))] == ["j0", "j1"]
    assert [job.id for job in await ledger.ended(later(9), limit=2, offset=1)] == ["j1", "j2"]
    job = (await ledger.ended(later(9)))[0]
    assert await ledger.forget(job)
    assert not await ledger.forget(job)
    again = await ledger.submit(SCRIPT, now=later(5), id="j0")
    await ledger.cancel("j0", "no", now=later(6))
    assert not await ledger.forget(job)
    assert await ledger.forget(again)
    assert [job.id for job in await ledger.jobs()] == ["waits", "j2", "j1"]
    assert (await ledger.summary()).model_dump(include={"waiting", "done", "cancelled"}) == {
        "waiting": 1,
        "done": 2,
        "cancelled": 0,
    }
    assert len(await ledger.ended(later(9))) == 2


async def test_the_uploads_of_all_jobs_are_known(ledger: Ledger) -> None:
    """As long as one has them; what is elsewhere was not uploaded."""
    uploaded = [Input(name=name, sha256=name * 64) for name in ("a", "b")]
    fetched = Input(name="c", url="https://data.example/c", sha256="c" * 64)
    both = SCRIPT.model_copy(update={"inputs": (*uploaded, fetched)})
    first = await ledger.submit(both, now=NOW, id="both")
    await ledger.submit(SCRIPT.model_copy(update={"inputs": (uploaded[0],)}), now=NOW)
    await submit(ledger)
    assert await ledger.uploads() == {"a" * 64, "b" * 64}
    await ledger.cancel(first.id, "no", now=NOW)
    assert await ledger.forget(first)
    assert await ledger.uploads() == {"a" * 64}


async def test_events_can_be_read_and_followed(ledger: Ledger) -> None:
    """The last ones, or what came after; of all machines or of one."""
    for number in range(6):
        await ledger.record(event(Note(message=str(number)), f"m{number % 2}", number), "vm@x/r", now=NOW)
    everything = await ledger.events()
    assert [entry.event.seq for entry in everything] == list(range(6))
    assert [entry.event.seq for entry in await ledger.events("m1", limit=2)] == [3, 5]
    assert await ledger.events(after=everything[2].number, limit=2) == everything[3:5]
    assert await ledger.events("m0", after=everything[2].number) == [everything[4]]
    assert max(entry.number for entry in everything) < 2**53  # a page has to read it


async def test_events_tell_what_their_machine_is_called(ledger: Ledger) -> None:
    """As it is called now, whatever it was when they happened; nothing if it has not said."""
    for name in ("m1", "m2"):
        await ledger.record(event(Note(message="x"), name), "vm@x/r", now=NOW)
    assert [entry.host for entry in await ledger.events()] == ["", ""]
    await ledger.claim("m1", "vm@x/r", host="wn1.example.org", now=NOW)
    assert [entry.host for entry in await ledger.events()] == ["wn1.example.org", ""]
    assert [entry.host for entry in await ledger.events("m1")] == ["wn1.example.org"]
    await ledger.forget_machine("m2", before=later(1))
    assert [entry.event.machine_id for entry in await ledger.events()] == ["m1"]


async def test_changes_are_noticed(ledger: Ledger) -> None:
    """So that whoever looks on sees them."""
    heard: asyncio.Queue[Notice] = asyncio.Queue()
    ledger.on_notice = heard.put_nowait
    await submit(ledger, "j")
    await ledger.record(event(Note(message="x")), "vm@x/r", now=NOW)
    async with asyncio.timeout(10):
        notices = [await heard.get() for _ in range(3)]
    number = (await ledger.events())[0].number
    assert set(notices) == {Notice(Kind.JOB, "j"), Notice(Kind.EVENT, str(number)), Notice(Kind.MACHINE, "m1")}
    assert await ledger.forget_machine("m1", before=later(1))
    async with asyncio.timeout(10):
        assert await heard.get() == Notice(Kind.MACHINE, "m1")
