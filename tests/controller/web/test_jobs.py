"""Jobs over HTTP: submitted, listed, ended, and their output."""

from __future__ import annotations

import asyncio
import hashlib
import io
import tarfile
from base64 import b64decode
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.controller.web.site import Answer, Api
from ucvm_agent.controller.controller import Controller
from ucvm_agent.controller.model import Job, Result

SCRIPT = b"#!/bin/sh\necho hello\n"
SHA256 = hashlib.sha256(SCRIPT).hexdigest()
UPLOADED = {"command": "run.sh", "inputs": [{"name": "run.sh", "sha256": SHA256}]}
FETCHED = {"command": "run.sh", "inputs": [{"name": "run.sh", "url": "https://data.example/run.sh"}]}


async def submit(api: Api, description: dict[str, Any] | None = None, id: str = "") -> Any:  # noqa: A002 - as the field is called
    answer = await api.ask("POST", "/api/v1/jobs", json={"description": description or FETCHED, "id": id})
    assert answer.status == 201, answer.json
    return answer.json


async def take(manager: Controller) -> Job:
    job = await manager.ledger.take("vm@x/r", machine_id="m1", host="vm1", now=datetime.now(UTC), seconds=180)
    assert job is not None
    assert job.lease is not None
    return job


async def finish(manager: Controller, job: Job, status: int = 0) -> None:
    assert job.lease is not None
    result = Result(lease=job.lease.id, agent="vm@x/r", exit_status=status, ended=datetime.now(UTC))
    assert await manager.ledger.finish(job.id, result)


def archive(**members: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as file:
        for name, content in members.items():
            entry = tarfile.TarInfo(f"./{name}")
            entry.size = len(content)
            file.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


async def test_a_job_waits_once_it_was_submitted(api: Api) -> None:
    """With all its inputs among the names that go over the wire; what makes a lease secret is not shown."""
    job = await submit(api, {**FETCHED, "arguments": "-n 1", "limits": {"cpus": 2}}, "my-job")
    assert (job["id"], job["status"]) == ("my-job", "waiting")
    assert job["description"]["input_files"] == ["run.sh"]
    assert (await api.ask("GET", "/api/v1/jobs/my-job")).json == job
    assert job["description"]["ours_only"]  # for want of a way to fetch it, an original agent never gets it
    assert not {"token", "takers"} & set(job)


async def test_the_same_job_is_not_taken_twice(api: Api) -> None:
    """So whoever lost the answer may ask again."""
    await submit(api, id="once")
    again = await api.ask("POST", "/api/v1/jobs", json={"description": FETCHED, "id": "once"})
    assert again.status == 409
    assert "once" in again.json["error"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "description"),
        ({"description": {"command": "x", "nonsense": 1}}, "description.nonsense"),
        ({"description": {"command": "x", "limits": {"cpus": -1}}}, "description.limits.cpus"),
        ([], "body"),
    ],
)
async def test_what_is_wrong_with_a_job_is_told_by_field(api: Api, body: Any, field: str) -> None:
    """400, with a sentence for each."""
    answer = await api.ask("POST", "/api/v1/jobs", json=body)
    assert answer.status == 400
    assert field in answer.json["fields"]


@pytest.mark.parametrize(
    ("description", "says"),
    [
        ({"command": "run.sh"}, "none of the input files"),
        ({**FETCHED, "validation_script": "check.sh"}, "none of the input files"),
        ({"command": "run.sh", "inputs": [{"name": "run.sh"}]}, "neither URL nor SHA-256"),
        ({"command": "run.sh", "inputs": [{"name": "run.sh", "sha256": "ab" * 32}]}, "not uploaded"),
        ({"command": "../a", "inputs": [{"name": "../a", "sha256": SHA256}]}, "no name"),
        ({"command": ".__acl", "inputs": [{"name": ".__acl", "sha256": SHA256}]}, "no name"),
        ({**UPLOADED, "input_dir": "elsewhere"}, "gets its place from us"),
    ],
)
async def test_a_job_that_could_not_run_is_refused(api: Api, description: Any, says: str) -> None:
    """Before it is in the queue."""
    answer = await api.ask("POST", "/api/v1/jobs", json={"description": description})
    assert answer.status == 400
    assert says in answer.json["error"]
    assert (await api.ask("GET", "/api/v1/jobs")).json["jobs"] == []


async def test_an_uploaded_input_is_kept_once_and_copied_for_original_agents(api: Api, tmp_path: Path) -> None:
    """They know nothing but the Chirp server."""
    assert (await api.ask("HEAD", f"/api/v1/inputs/{SHA256}")).status == 404
    for _ in range(2):
        assert (await api.ask("PUT", f"/api/v1/inputs/{SHA256}", data=SCRIPT)).status == 201
    assert (await api.ask("HEAD", f"/api/v1/inputs/{SHA256}")).status == 204
    job = await submit(api, UPLOADED)
    place = tmp_path / "chirp" / job["description"]["input_dir"]
    assert (place / "run.sh").read_bytes() == SCRIPT
    assert (place / ".__acl").read_text() == "hostname:* rl\naddress:* rl\n\n"
    assert not job["description"]["ours_only"]
    assert [path.name for path in (tmp_path / "state/files/inputs").iterdir()] == [SHA256]


async def test_of_two_submissions_of_one_id_one_is_taken(api: Api, tmp_path: Path) -> None:
    """At the same time, with other inputs of one name; the job has its own ones, and nothing is left of the others'."""
    programs = [f"#!/bin/sh\necho {number}\n".encode() for number in range(8)]
    sums = [hashlib.sha256(program).hexdigest() for program in programs]
    for program, sha256 in zip(programs, sums, strict=True):
        assert (await api.ask("PUT", f"/api/v1/inputs/{sha256}", data=program)).status == 201

    async def attempt(sha256: str) -> Answer:
        description = {**UPLOADED, "inputs": [{"name": "run.sh", "sha256": sha256}]}
        return await api.ask("POST", "/api/v1/jobs", json={"description": description, "id": "j"})

    answers = await asyncio.gather(*map(attempt, sums))
    assert sorted(answer.status for answer in answers) == [201, *[409] * 7]
    assert all("was submitted before" in answer.json["error"] for answer in answers if answer.status == 409)
    winner = next(number for number, answer in enumerate(answers) if answer.status == 201)
    place = tmp_path / "chirp" / answers[winner].json["description"]["input_dir"]
    assert (place / "run.sh").read_bytes() == programs[winner]
    assert set((tmp_path / "chirp/j").iterdir()) == {place, tmp_path / "chirp/j/.__acl"}


async def test_what_cannot_be_laid_down_leaves_nothing(api: Api, tmp_path: Path) -> None:
    """The id is free afterwards."""
    await api.ask("PUT", f"/api/v1/inputs/{SHA256}", data=SCRIPT)
    (tmp_path / "chirp/j").write_text("in the way")
    answer = await api.ask("POST", "/api/v1/jobs", json={"description": UPLOADED, "id": "j"})
    assert (answer.status, "cannot be copied" in answer.json["error"]) == (503, True)
    (tmp_path / "chirp/j").unlink()
    await submit(api, UPLOADED, "j")


async def test_a_job_that_has_ended_is_forgotten(api: Api, manager: Controller, tmp_path: Path) -> None:
    """With its folder on the Chirp server, and its archives here and there; then its id is free."""
    await api.ask("PUT", f"/api/v1/inputs/{SHA256}", data=SCRIPT)
    await submit(api, UPLOADED, "j")
    await submit(api, UPLOADED, "other")
    answer = await api.ask("DELETE", "/api/v1/jobs/j")
    assert (answer.status, answer.json["hint"]) == (409, "cancel it first")
    job = await take(manager)
    put = await api.ask("PUT", "/files/j/j.tgz", token=job.token.get_secret_value(), data=archive(stdout=b"x"))
    assert put.status == 201
    await finish(manager, job)
    done = tmp_path / "done" / f"{datetime.now(UTC).astimezone():%Y%m%d}"
    done.mkdir(parents=True)
    for path in (done / "j.tgz", done / "other.tgz", tmp_path / "chirp/j/j.tgz"):
        path.write_bytes(b"output")
    assert (await api.ask("DELETE", "/api/v1/jobs/j")).status == 204
    assert (await api.ask("DELETE", "/api/v1/jobs/j")).status == 404
    assert [path.name for path in done.iterdir()] == ["other.tgz"]
    assert [path.name for path in (tmp_path / "chirp").iterdir()] == ["other"]
    assert list((tmp_path / "state/files/archives").iterdir()) == []
    await submit(api, UPLOADED, "j")


async def test_an_upload_with_another_checksum_is_refused(api: Api, tmp_path: Path) -> None:
    """And leaves nothing."""
    answer = await api.ask("PUT", f"/api/v1/inputs/{SHA256}", data=SCRIPT + b"#")
    assert answer.status == 400
    assert (await api.ask("PUT", "/api/v1/inputs/..%2Fx", data=SCRIPT)).status in (400, 404)
    assert [path for path in (tmp_path / "state/files").rglob("*") if path.is_file()] == []


async def test_jobs_come_in_pages(api: Api, manager: Controller) -> None:
    """Last ones first, and by status."""
    ids = [(await submit(api))["id"] for _ in range(5)]
    await take(manager)
    first = (await api.ask("GET", "/api/v1/jobs?limit=3")).json
    second = (await api.ask("GET", f"/api/v1/jobs?limit=3&before={first['next']}")).json
    assert [job["id"] for job in first["jobs"] + second["jobs"]] == ids[::-1]
    assert second["next"] == ""
    running = (await api.ask("GET", "/api/v1/jobs?status=running")).json["jobs"]
    assert [job["id"] for job in running] == ids[:1]
    assert (await api.ask("GET", "/api/v1/jobs?status=nonsense&limit=0")).json["fields"].keys() == {"status", "limit"}


async def test_a_job_is_cancelled_once(api: Api) -> None:
    """Then it has ended already; one that is unknown is not found."""
    job = await submit(api)
    cancelled = await api.ask("POST", f"/api/v1/jobs/{job['id']}/cancel", json={"reason": "no more"})
    assert (cancelled.json["status"], cancelled.json["reason"]) == ("cancelled", "no more")
    assert (await api.ask("POST", f"/api/v1/jobs/{job['id']}/cancel")).status == 409
    assert (await api.ask("POST", "/api/v1/jobs/unknown/cancel")).status == 404


async def test_an_ended_job_shows_its_output_from_the_archive(api: Api, manager: Controller, tmp_path: Path) -> None:
    """From an offset on; the archive itself can be had, too."""
    await submit(api, id="j")
    assert (await api.ask("GET", "/api/v1/jobs/j/log")).status == 409
    job = await take(manager)
    text = b"0123456789" * 20_000
    token = job.token.get_secret_value()
    packed = archive(stdout=text, stderr=b"oh")
    assert (await api.ask("PUT", "/files/j/j.tgz", token=token, data=packed)).status == 201
    await finish(manager, job)
    async with api.follow("/api/v1/jobs/j/log?offset=3") as events:
        pieces = [data async for _, data in events]
    assert b"".join(b64decode(piece["data"]) for piece in pieces) == text[3:]
    assert [piece["end"] for piece in pieces[-2:]] == [False, True]
    output = await api.ask("GET", "/api/v1/jobs/j/output")
    assert output.body == packed
    assert 'filename="j.tgz"' in output.headers["Content-Disposition"]


async def test_the_archive_of_an_original_agent_is_found(api: Api, manager: Controller, tmp_path: Path) -> None:
    """On the Chirp server, unless it is a link that leads elsewhere, or damaged."""
    await submit(api, id="j")
    await finish(manager, await take(manager))
    place = tmp_path / "chirp/j/j.tgz"
    place.parent.mkdir()
    assert (await api.ask("GET", "/api/v1/jobs/j/output")).status == 409
    place.symlink_to("/etc/passwd")
    assert (await api.ask("GET", "/api/v1/jobs/j/output")).status == 409
    place.unlink()
    place.write_bytes(archive(stdout=b"x" * 100_000)[:-60])
    assert (await api.ask("GET", "/api/v1/jobs/j/output")).status == 200
    async with api.follow("/api/v1/jobs/j/log") as events:
        assert [data["end"] async for _, data in events][-1]
