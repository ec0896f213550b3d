"""The controller as an agent of ours meets it (docs/protocol-jobs.md)."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from xml.etree.ElementTree import Element

import pytest
from structlog.testing import capture_logs

from tests.controller.conftest import Make
from tests.controller.ledger.test_ledger import NOW
from tests.controller.peer import Peer, peer
from tests.servers.prosody import Prosody
from tests.servers.redis import RedisServer
from ucvm_agent.controller import fleet
from ucvm_agent.controller.controller import Controller
from ucvm_agent.controller.feed import Change
from ucvm_agent.controller.model import Description, Input, Job, JobStatus, Limits, Machine
from ucvm_agent.copilot.messages import (
    CancelJob,
    Drain,
    GetJob,
    GetOutputDir,
    JobDone,
    JobOutput,
    JobState,
    Resume,
    RunJob,
    StoreOutputDir,
    TailJob,
    WantJob,
    content,
)
from ucvm_agent.copilot.signature import SIGNATURE
from ucvm_agent.errors import OrderError
from ucvm_agent.events import Event, State, StateChanged
from ucvm_agent.report.stanzas import confirmed, event_message

SCRIPT = Description(command="run.sh", input_files=("run.sh",))
PUBLIC = {"listen": "", "public_url": "https://jm.example/"}


async def take(agent: Peer, manager: str, machine: str = "m1") -> RunJob:
    """Ask for a job and return it."""
    agent.say(manager, GetJob(machine_id=machine, request="r", agent_host="vm1"))
    run, _ = await agent.hear(RunJob)
    return run


async def becomes(controller: Controller, id: str, status: JobStatus) -> Job:  # noqa: A002 - as the field is called
    """Return the job as soon as it has a status."""
    with controller.feed.subscribe() as changes:
        job = await controller.ledger.job(id)
        async with asyncio.timeout(20):
            while job is None or job.status is not status:
                change = await anext(changes)
                if isinstance(change, Job) and change.id == id:
                    job = change
    return job


def event(machine_id: str, state: State, seq: int = 1) -> Event:
    body = StateChanged(state=state, reason="because")
    return Event(id=f"e{seq}", machine_id=machine_id, boot_id="b", seq=seq, time=NOW, monotonic=1.0, body=body)


async def test_what_is_answered_is_not_acknowledged(prosody: Prosody, run_controller: Make) -> None:
    """Neither end wants that; an original agent is asked for all acknowledgements as ever."""
    async with run_controller() as controller, peer(prosody, "agent1") as agent:
        for want, get in (
            (WantJob(machine_id="m1", request="r"), GetJob(machine_id="m1", request="r")),
            (WantJob(), GetJob()),
        ):
            await controller.ledger.submit(SCRIPT, now=NOW)
            agent.say(prosody.jid("jm"), want)
            have = await agent.next()
            agent.tell(have.sender, content(get), noack=True)
            run = await agent.next()
            assert (have.command, run.command) == ("have_getJob", "runJob")
            assert have.noack is run.noack is bool(get.request)
        assert agent.acks.qsize() == 2


async def test_a_job_is_told_with_its_inputs_limits_and_lease(prosody: Prosody, run_controller: Make) -> None:
    """The token goes with what is on the controller, and to nobody else's URL."""
    description = Description(
        command="run.sh",
        input_files=("run.sh", "data.root"),
        inputs=(Input(name="run.sh"), Input(name="data.root", url="https://data.example/x", sha256="ab")),
        limits=Limits(wall_seconds=60),
    )
    async with run_controller(http=PUBLIC) as controller, peer(prosody, "agent1") as agent:
        manager = f"{prosody.jid('jm')}/alpha"
        await controller.ledger.submit(description, now=NOW, id="j")
        run = await take(agent, manager)
        job = await controller.ledger.job("j")
        assert job is not None
        assert job.lease is not None
        assert (run.request, run.lease, json.loads(run.job.limits)) == ("r", job.lease.id, {"wall_seconds": 60.0})
        token = job.token.get_secret_value()
        assert json.loads(run.job.inputs) == [
            {"name": "run.sh", "url": "https://jm.example/files/j/run.sh", "sha256": "", "token": token},
            {"name": "data.root", "url": "https://data.example/x", "sha256": "ab"},
        ]
        agent.say(manager, GetOutputDir(job_id="j", machine_id="m1", request="s", lease=run.lease))
        place, _ = await agent.hear(StoreOutputDir)
        assert (place.output_url, place.output_token) == ("https://jm.example/files/j/j.tgz", token)
        machine = await controller.ledger.machine("m1")
        assert machine is None or machine.jobs == ("j",)


async def test_an_uploaded_input_is_fetched_by_chirp_where_we_cannot_be_reached(
    prosody: Prosody, run_controller: Make
) -> None:
    """What `inputs` does not name comes from there (docs/protocol-jobs.md)."""
    inputs = (Input(name="run.sh", sha256="ab"), Input(name="data.root", url="https://data.example/x"))
    description = Description(command="run.sh", input_files=("run.sh", "data.root"), inputs=inputs)
    async with run_controller(jobs={"chirp": {"url": "chirp.example"}}) as controller, peer(prosody, "agent1") as agent:
        await controller.ledger.submit(description, now=NOW, id="j")
        run = await take(agent, f"{prosody.jid('jm')}/alpha")
        assert [each["name"] for each in json.loads(run.job.inputs)] == ["data.root"]
        assert (run.job.chirp_url, run.job.input_dir) == ("chirp.example", "j")


async def test_a_silent_machine_loses_its_job(prosody: Prosody, run_controller: Make) -> None:
    """Once its lease has run out; as long as it says that the job is alive, it keeps it."""
    jobs = {"lease_seconds": 1.0, "max_tries": 2}
    async with run_controller(jobs=jobs) as controller, peer(prosody, "agent1") as agent:
        manager = f"{prosody.jid('jm')}/alpha"
        await controller.submit(SCRIPT, "j")
        run = await take(agent, manager)
        for _ in range(15):
            await agent.confirmed(agent.say(manager, JobState(job_id="j", lease=run.lease, state="running")))
            await asyncio.sleep(0.1)
        job = await controller.ledger.job("j")
        assert job is not None
        assert (job.status, job.tries) == (JobStatus.RUNNING, 1)
        back = await becomes(controller, "j", JobStatus.WAITING)
        assert "vm1" in back.reason
        await take(agent, manager)
        await becomes(controller, "j", JobStatus.FAILED)


@pytest.mark.parametrize(
    ("state", "status"),
    [("lost", JobStatus.WAITING), ("refused", JobStatus.WAITING), ("cancelled", JobStatus.CANCELLED)],
)
async def test_an_agent_gives_a_job_up(prosody: Prosody, run_controller: Make, state: str, status: JobStatus) -> None:
    """With its reason; another account cannot."""
    async with (
        run_controller() as controller,
        peer(prosody, "agent1") as agent,
        peer(prosody, "agent2") as thief,
    ):
        manager = f"{prosody.jid('jm')}/alpha"
        await controller.ledger.submit(SCRIPT, now=NOW, id="j")
        run = await take(agent, manager)
        given_up = JobState.model_validate({"jobID": "j", "lease": run.lease, "state": state, "reason": "why"})
        await thief.confirmed(thief.say(manager, given_up))
        job = await controller.ledger.job("j")
        assert job is not None
        assert job.status is JobStatus.RUNNING
        await agent.confirmed(agent.say(manager, given_up))
        job = await controller.ledger.job("j")
        assert job is not None
        assert (job.status, job.reason) == (status, "why")


async def test_a_late_result_ends_the_other_run(prosody: Prosody, run_controller: Make) -> None:
    """The job was put back and handed out again: the first result counts, and the other machine is told to stop."""
    async with (
        run_controller() as controller,
        peer(prosody, "agent1") as first,
        peer(prosody, "agent2", "9876543210") as second,
    ):
        manager = f"{prosody.jid('jm')}/alpha"
        await controller.ledger.submit(SCRIPT, now=NOW, id="j")
        run = await take(first, manager)
        await controller.ledger.give_back("j", run.lease, "silent", now=NOW)
        again = await take(second, manager, "m2")
        assert again.lease != run.lease
        done = JobDone(job_id="j", exit_code="0", lease=run.lease, machine_id="m1", checksum="ab")
        await first.confirmed(first.say(manager, done))
        stop, _ = await second.hear(CancelJob)
        assert (stop.job_id, stop.lease) == ("j", again.lease)
        await second.confirmed(second.say(manager, JobDone(job_id="j", exit_code="9", lease=again.lease)))
        job = await becomes(controller, "j", JobStatus.DONE)
        assert job.result is not None
        assert (job.result.lease, job.result.checksum) == (run.lease, "ab")


async def test_orders_reach_their_machine(prosody: Prosody, run_controller: Make) -> None:
    """Cancel, drain, resume: signed, to where it reported from last."""
    async with run_controller() as controller, peer(prosody, "agent1") as agent:
        manager = f"{prosody.jid('jm')}/alpha"
        agent.connection.send(event_message(event("m1", State.READY), prosody.jid("jm"), receipt=True))
        receipt = await asyncio.wait_for(agent.elements.get(), 20)
        assert confirmed(receipt) == "e1"
        await controller.ledger.submit(SCRIPT, now=NOW, id="j")
        run = await take(agent, manager)
        cancelled = await controller.orders.cancel("j", "not needed")
        assert cancelled is not None
        assert cancelled.status is JobStatus.CANCELLED
        stop, sender = await agent.hear(CancelJob)
        assert (stop.lease, sender) == (run.lease, manager)
        assert await controller.orders.cancel("j", "again") is None
        await controller.orders.drain("m1", "maintenance")
        drain, _ = await agent.hear(Drain)
        assert drain.reason == "maintenance"
        await controller.orders.resume("m1")
        await agent.hear(Resume)
        with pytest.raises(OrderError):
            await controller.orders.drain("nobody")


async def test_all_that_the_controller_says_is_signed(prosody: Prosody, run_controller: Make) -> None:
    """With a key that stays the same."""
    heard: list[str] = []
    async with peer(prosody, "agent1") as agent:
        received = agent.received

        def see(message: Element) -> None:
            if not message.get("ack"):
                signature = message.find(SIGNATURE)
                heard.append("" if signature is None else signature.get("key", ""))
            received(message)

        agent.received = see  # type: ignore[method-assign]  # to see the stanza as it came
        for _ in range(2):
            async with run_controller() as controller:
                await controller.ledger.submit(SCRIPT, now=NOW)
                await take(agent, f"{prosody.jid('jm')}/alpha")
    assert heard[0]
    assert set(heard) == {heard[0]}


async def test_output_of_a_running_job_is_shown(prosody: Prosody, run_controller: Make) -> None:
    """Piece by piece; what is missing is asked for again."""
    async with run_controller() as controller, peer(prosody, "agent1") as agent:
        manager = f"{prosody.jid('jm')}/alpha"
        await controller.ledger.submit(SCRIPT, now=NOW, id="j")
        await take(agent, manager)
        shown = controller.orders.tail("j")
        first = asyncio.ensure_future(anext(shown))
        ask, _ = await agent.hear(TailJob)
        assert (ask.job_id, ask.stream, ask.offset) == ("j", "stdout", 0)

        def piece(offset: int, data: bytes, end: str = "") -> JobOutput:
            encoded = base64.b64encode(data).decode()
            return JobOutput(job_id="j", offset=offset, data=encoded, end=end, request=ask.request)

        agent.say(manager, piece(0, b"abc"))
        assert (await first).data == b"abc"
        second = asyncio.ensure_future(anext(shown))
        agent.say(manager, piece(5, b"f"))
        again, _ = await agent.hear(TailJob)
        assert again.offset == 3
        agent.say(manager, piece(0, b"abcde"))
        assert (await second).data == b"de"
        agent.say(manager, piece(5, b"", "1"))
        assert [output.end async for output in shown] == [True]
        with pytest.raises(OrderError):
            await anext(controller.orders.tail("nobody"))


async def test_a_machine_is_seen_to_come_and_go(prosody: Prosody, run_controller: Make) -> None:
    """By its presence; its events tell its state, and each is shown live."""
    async with run_controller() as controller:
        with controller.feed.subscribe() as changes:
            async with peer(prosody, "agent1") as agent:
                for seq, state in enumerate((State.READY, State.DEGRADED), 1):
                    message = event_message(event("m1", state, seq), prosody.jid("jm"), receipt=False)
                    agent.connection.send(message)
                online = await _machine(changes, online=True)
                assert online.jid == agent.connection.jid
            gone = await _machine(changes, online=False)
            assert (gone.state, gone.failure) == (State.DEGRADED, "because")
        assert [entry.event.seq for entry in await controller.ledger.events("m1")] == [1, 2]


async def test_a_controller_without_memory_sees_machines_that_only_ask_for_jobs(
    prosody: Prosody, run_controller: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has lost its ledger, or another one of several has met them: a machine that is there may report nothing."""
    monkeypatch.setattr(fleet, "SETTLING_SECONDS", 1.0)
    async with peer(prosody, "agent1") as agent:
        async with run_controller() as controller:
            with controller.feed.subscribe() as changes:
                agent.connection.send(event_message(event("m1", State.DEGRADED), prosody.jid("jm"), receipt=False))
                await _machine(changes, online=True)  # the server remembers from now on who wants to know of it
        async with run_controller(instance="beta") as controller:
            with controller.feed.subscribe() as changes:
                agent.say(f"{prosody.jid('jm')}/beta", WantJob(machine_id="m1", request="r"))
                async with asyncio.timeout(20):
                    while not isinstance(change := await anext(changes), Machine) or not change.online:
                        pass
                assert change.jid == agent.connection.jid


async def test_who_has_gone_is_found_out_although_the_ledger_was_away(
    prosody: Prosody, run_controller: Make, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a whole site comes back from a power cut, without one of its machines."""
    monkeypatch.setattr(fleet, "SETTLING_SECONDS", 0.5)
    async with peer(prosody, "agent1") as agent, run_controller(redis=redis_server.url) as controller:
        with controller.feed.subscribe() as changes:
            agent.connection.send(event_message(event("m1", State.DEGRADED), prosody.jid("jm"), receipt=False))
            await _machine(changes, online=True)
    async with run_controller(redis=redis_server.url) as controller:
        with capture_logs() as logs, controller.feed.subscribe() as changes:
            await redis_server.kill()
            async with asyncio.timeout(20):
                while "machines cannot be looked at" not in [entry["event"] for entry in logs]:  # noqa: ASYNC110
                    await asyncio.sleep(0)
            await redis_server.start()
            await _machine(changes, online=False)


async def test_an_account_cannot_report_for_the_machine_of_another(prosody: Prosody, run_controller: Make) -> None:
    """It is told that its event has come, so that it goes on, and the operator is told what it has said."""
    async with (
        run_controller() as controller,
        peer(prosody, "agent1") as agent,
        peer(prosody, "agent2") as thief,
    ):

        async def report(who: Peer, seq: int, state: State) -> None:
            told = event("m1", state, seq)
            who.connection.send(event_message(told, prosody.jid("jm"), receipt=True))
            assert confirmed(await asyncio.wait_for(who.elements.get(), 20)) == told.id

        await report(agent, 1, State.READY)
        with capture_logs() as logs:
            await report(thief, 2, State.FAILED)
        dropped = next(entry for entry in logs if entry["event"] == "an event of another account's machine is dropped")
        assert (dropped["sender"], dropped["machine"]) == (thief.connection.jid, "m1")
        machine = await controller.ledger.machine("m1")
        assert machine is not None
        assert (machine.state, machine.jid) == (State.READY, agent.connection.jid)
        assert (machine.refused, machine.refused_from) == (1, thief.connection.jid)
        await controller.ledger.forget_machine("m1", before=datetime.now(UTC))
        await report(thief, 3, State.DEGRADED)
        machine = await controller.ledger.machine("m1")
        assert machine is not None
        assert (machine.jid, machine.refused) == (thief.connection.jid, 0)


async def _machine(changes: AsyncIterator[Change], *, online: bool) -> Machine:
    """Return the next change of a machine after which its presence is so."""
    async with asyncio.timeout(20):
        while True:
            change = await anext(changes)
            if isinstance(change, Machine) and change.online is online and change.state is State.DEGRADED:
                return change
