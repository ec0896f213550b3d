"""The controller as an original agent meets it: what the original's job manager answered, ours answers.

`wire.jsonl` is the traffic of the original agent and job manager as it stood on the wire.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, fromstring, tostring

import pytest
from redis.asyncio import Redis

from tests.controller.conftest import Make
from tests.controller.ledger.test_ledger import FETCHED, NOW
from tests.controller.peer import Peer, peer
from tests.servers.chirp import Chirp
from tests.servers.prosody import Prosody
from tests.servers.redis import RedisServer
from ucvm_agent.controller.counters import Count
from ucvm_agent.controller.model import Description, Input, JobStatus
from ucvm_agent.controller.submission import Submissions
from ucvm_agent.controller.web.bodies import Submission
from ucvm_agent.copilot.messages import (
    GetJob,
    GetOutputDir,
    HaveJob,
    HaveOutputDir,
    JobDone,
    RunJob,
    Sleep,
    StoreOutputDir,
    WantJob,
    WantOutputDir,
)
from ucvm_agent.copilot.stanza import Hash, read_message

WIRE = Path(__file__).parent.parent / "data" / "copilot" / "wire.jsonl"
SCRIPT = Description(command="run.sh", input_files=("run.sh",))


def recorded() -> dict[int, Element]:
    """Return the stanzas by their numbers, as a parser of `jabber:client` sees them."""
    lines = [json.loads(line) for line in WIRE.read_text().splitlines()]
    return {
        line["n"]: fromstring(line["stanza"].replace("<message", "<message xmlns='jabber:client'", 1)) for line in lines
    }


def comparable(info: Hash | None) -> Mapping[str, object]:
    """Return a content without what the time decides, and without what is empty."""
    return {
        name: comparable(value) if not isinstance(value, str) else value
        for name, value in (info or {}).items()
        if value and name not in ("from", "to", "jmJobData")
    }


async def replay(agent: Peer, stanza: Element, to: str, expected: Element | None) -> str:
    """Send what the original agent sent, and compare the answer; return who answered."""
    stanza = fromstring(_text(stanza))
    del stanza.attrib["from"]
    stanza.set("to", to)
    agent.connection.send(stanza)
    await agent.confirmed(stanza.get("id", ""))
    if expected is None:
        return ""
    answer = await agent.next()
    assert comparable(answer.info) == comparable(read_message(expected).info)
    return answer.sender


def _text(element: Element) -> str:
    return tostring(element, "unicode")


async def test_a_whole_job_of_the_original_agent_and_its_question_too_soon(
    prosody: Prosody, run_controller: Make, tmp_path: Path
) -> None:
    """Asked, got, run, stored, reported with its raw wait status; then it is sent to sleep."""
    wire = recorded()
    told = read_message(wire[7]).info or {}
    job = told["job"]
    assert not isinstance(job, str)
    root = tmp_path / "chirp"
    root.mkdir()
    chirp = {"url": str(job["chirpUrl"]), "folder": root}
    async with run_controller(jobs={"chirp": chirp}) as controller, peer(prosody, "agent1") as agent:
        await controller.ledger.submit(
            Description(
                command="run.sh",
                arguments="world",
                input_files=("run.sh", "input.txt"),
                environment=str(job["environment"]),
                input_dir=str(job["inputDir"]),
            ),
            now=NOW,
            id=str(job["id"]),
        )
        everybody = prosody.jid("jm")
        manager = await replay(agent, wire[1], everybody, wire[3])
        assert manager == f"{everybody}/alpha"
        await replay(agent, wire[5], manager, wire[7])
        await replay(agent, wire[9], everybody, wire[11])
        await replay(agent, wire[13], manager, wire[15])
        folder = root / str(job["id"])
        assert (folder / ".__acl").read_text() == "hostname:* rwl\naddress:* rwl\n\n"
        assert folder.stat().st_mode & 0o777 == 0o777
        await replay(agent, wire[17], manager, None)
        await replay(agent, wire[18], everybody, wire[21])
        done = await controller.ledger.job(str(job["id"]))
        assert done is not None
        assert done.result is not None
        assert (done.status, done.result.exit_status, done.result.host) == (
            JobStatus.FAILED,
            768,
            "worker1.example.org",
        )
        assert controller.counters.counts == {Count.START: 1, Count.FAILED: 1}


async def test_a_required_file_is_told(prosody: Prosody, run_controller: Make) -> None:
    """As on the wire of the original."""
    wire = recorded()
    require = str((read_message(wire[37]).info or {})["requireFile"])
    async with run_controller(jobs={"require_file": require}) as controller, peer(prosody, "agent3") as agent:
        await controller.ledger.submit(SCRIPT, now=NOW)
        await replay(agent, wire[35], prosody.jid("jm"), wire[37])


async def test_an_empty_queue_is_silent(prosody: Prosody, run_controller: Make) -> None:
    """No answer to either question, only an acknowledgement."""
    async with run_controller() as controller, peer(prosody, "agent1") as agent:
        await agent.confirmed(agent.say(prosody.jid("jm"), WantJob()))
        await agent.confirmed(agent.say(f"{prosody.jid('jm')}/alpha", GetJob()))
        await agent.confirmed(agent.say(prosody.jid("jm"), WantOutputDir(job_id="j")))
        await agent.hear(HaveOutputDir)  # all that it hears
        assert controller.counters.counts[Count.EMPTY] == 2


async def test_a_job_with_inputs_at_urls_is_not_for_it(prosody: Prosody, run_controller: Make) -> None:
    """It could not fetch them: it hears nothing, and an agent of ours gets the job."""
    async with run_controller() as controller, peer(prosody, "agent1") as agent:
        await controller.submit(FETCHED, "j")
        await agent.confirmed(agent.say(prosody.jid("jm"), WantJob()))
        await agent.confirmed(agent.say(f"{prosody.jid('jm')}/alpha", GetJob()))
        agent.say(prosody.jid("jm"), WantJob(machine_id="m", request="r"))
        _, manager = await agent.hear(HaveJob)  # all that it has heard
        agent.say(manager, GetJob(machine_id="m", request="r"))
        run, _ = await agent.hear(RunJob)
        assert (run.job.id, '"url": "https://data.example/run.sh"' in run.job.inputs) == ("j", True)


async def test_uploaded_inputs_are_where_it_is_told(prosody: Prosody, run_controller: Make, tmp_path: Path) -> None:
    """It fetches them from the Chirp server as it always did, and cannot change them; its output has its own place."""
    async with Chirp(tmp_path, auth=("address",)) as chirp:
        settings = {"chirp": {"url": chirp.server, "folder": chirp.root}}
        async with run_controller(jobs=settings) as controller, peer(prosody, "agent1") as agent:
            controller.files.open()
            sha256 = hashlib.sha256(b"data").hexdigest()
            controller.files.input(sha256).write_bytes(b"data")
            description = Description(command="run.sh", inputs=(Input(name="run.sh", sha256=sha256),))
            await Submissions(controller, controller.files).take(Submission(description=description, id="j"))
            agent.say(f"{prosody.jid('jm')}/alpha", GetJob())
            run, manager = await agent.hear(RunJob)
            agent.say(manager, GetOutputDir(job_id="j"))
            await agent.hear(StoreOutputDir)
            file = tmp_path / "file"
            there = f"{run.job.input_dir}/{run.job.input_files}"
            assert await _copy("chirp_get", run.job.chirp_url, there, str(file)) == 0
            assert file.read_bytes() == b"data"
            assert await _copy("chirp_put", str(file), run.job.chirp_url, there) != 0
            assert await _copy("chirp_put", str(file), run.job.chirp_url, "j/j.tgz") == 0


async def _copy(*command: str) -> int:
    """Run a program of Chirp as the original agent does; return its exit code."""
    program, *rest = command
    process = await asyncio.create_subprocess_exec(program, "-a", "address", "-t", "10", *rest)
    async with asyncio.timeout(30):
        return await process.wait()


@pytest.mark.parametrize(("duty", "silent"), [("queue", WantOutputDir(job_id="j")), ("storage", WantJob())])
async def test_a_manager_with_half_a_duty_leaves_the_rest_to_others(
    prosody: Prosody, run_controller: Make, duty: str, silent: WantJob | WantOutputDir
) -> None:
    """Queue-only ignores output, storage-only ignores questions for jobs."""
    async with run_controller(jobs={"duty": duty}) as controller, peer(prosody, "agent1") as agent:
        await controller.ledger.submit(SCRIPT, now=NOW)
        await agent.confirmed(agent.say(prosody.jid("jm"), silent))
        await agent.confirmed(
            agent.say(prosody.jid("jm"), WantOutputDir(job_id="j") if duty == "storage" else WantJob())
        )
        await agent.hear(HaveOutputDir if duty == "storage" else HaveJob)


async def test_the_archive_of_a_job_that_has_ended_is_put_away(
    prosody: Prosody, run_controller: Make, tmp_path: Path
) -> None:
    """Below the day, readable for all, with the folder's access list."""
    root, done = tmp_path / "chirp", tmp_path / "done"
    root.mkdir()
    done.mkdir()
    (done / ".__acl").write_text("hostname:* rl\n")
    chirp = {"url": "chirp.example:9094", "folder": root, "done_dir": done}
    async with run_controller(jobs={"chirp": chirp}) as controller, peer(prosody, "agent1") as agent:
        await controller.ledger.submit(SCRIPT, now=NOW, id="j")
        agent.say(f"{prosody.jid('jm')}/alpha", GetJob(agent_host="w1"))
        run, manager = await agent.hear(RunJob)
        agent.say(manager, GetOutputDir(job_id="j"))
        place, _ = await agent.hear(StoreOutputDir)
        assert (place.output_chirp_url, place.output_dir, place.output_url) == ("chirp.example:9094", "j", "")
        (root / "j" / "j.tgz").write_bytes(b"output")
        await agent.confirmed(agent.say(manager, JobDone(job_id="j", exit_code="0", job_data=run.job_data)))
        (day,) = (path for path in done.iterdir() if path.is_dir())
        assert (day / "j.tgz").read_bytes() == b"output"
        assert (day / ".__acl").read_text() == "hostname:* rl\n"
        assert not (root / "j" / "j.tgz").exists()


async def test_a_job_s_inputs_are_on_the_server_where_they_were_laid_down(
    prosody: Prosody, run_controller: Make, redis_server: RedisServer, tmp_path: Path
) -> None:
    """Which the controller that hands the job out, or an original job manager, need not have."""

    def chirp(name: str) -> dict[str, Any]:
        (tmp_path / name).mkdir()
        return {"chirp": {"url": f"{name}.example:9094", "folder": tmp_path / name}}

    async with (
        run_controller(instance="alpha", redis=redis_server.url, jobs=chirp("a")) as alpha,
        run_controller(instance="beta", redis=redis_server.url, jobs=chirp("b")),
        peer(prosody, "agent1") as agent,
    ):
        await Submissions(alpha, alpha.files).take(Submission(description=SCRIPT, id="j"))
        async with Redis.from_url(redis_server.url, decode_responses=True) as redis:
            assert str(await redis.get("job:j:description")).startswith("a.example:9094::::")
        agent.say(f"{prosody.jid('jm')}/beta", GetJob())
        run, beta = await agent.hear(RunJob)
        assert run.job.chirp_url == "a.example:9094"
        agent.say(beta, GetOutputDir(job_id="j"))
        place, _ = await agent.hear(StoreOutputDir)
        assert (place.output_chirp_url, (tmp_path / "b/j").is_dir()) == ("b.example:9094", True)


async def test_only_who_had_a_job_may_end_it(prosody: Prosody, run_controller: Make) -> None:
    """What another account says of it is acknowledged, as all is, and dropped; and it gets no place for output."""
    async with (
        run_controller(jobs={"chirp": {"url": "c.example:9094"}}) as controller,
        peer(prosody, "agent1") as agent,
        peer(prosody, "agent2") as thief,
    ):
        await controller.ledger.submit(SCRIPT, now=NOW, id="j")
        agent.say(f"{prosody.jid('jm')}/alpha", GetJob())
        _, manager = await agent.hear(RunJob)
        await thief.confirmed(thief.say(manager, JobDone(job_id="j", exit_code="0")))
        await thief.confirmed(thief.say(manager, GetOutputDir(job_id="../../etc")))
        await thief.confirmed(thief.say(manager, JobDone(job_id="j", exit_code="well")))
        await thief.confirmed(thief.say(manager, GetOutputDir(job_id="j")))
        job = await controller.ledger.job("j")
        assert job is not None
        assert job.status is JobStatus.RUNNING
        assert thief.messages.empty()
        await agent.confirmed(agent.say(manager, JobDone(job_id="j", exit_code="0")))
        job = await controller.ledger.job("j")
        assert job is not None
        assert job.status is JobStatus.DONE


async def test_sleep_is_for_who_asks_too_soon(prosody: Prosody, run_controller: Make) -> None:
    """And not for an agent of ours, which its machine id tells from others of its account."""
    async with run_controller() as controller, peer(prosody, "agent1") as agent:
        await controller.ledger.submit(SCRIPT, now=NOW)
        agent.say(prosody.jid("jm"), WantJob())
        await agent.hear(HaveJob)
        agent.say(prosody.jid("jm"), WantJob())
        await agent.hear(Sleep)
        agent.say(prosody.jid("jm"), WantJob(machine_id="m", request="r"))
        offer, _ = await agent.hear(HaveJob)
        assert (offer.request, offer.direct) == ("r", "1")
