"""The files of a job, as the agent that has it gets and puts them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from tests.controller.web.site import Api, client, lonely_controller
from tests.controller.web.test_jobs import SCRIPT, SHA256, UPLOADED, finish, submit, take
from ucvm_agent.controller.controller import Controller
from ucvm_agent.controller.model import Job
from ucvm_agent.controller.web.site import open_site


async def running(api: Api, manager: Controller, id: str = "j") -> Job:  # noqa: A002 - as the field is called
    await api.ask("PUT", f"/api/v1/inputs/{SHA256}", data=SCRIPT)
    await submit(api, UPLOADED, id)
    return await take(manager)


def kept(tmp_path: Path) -> dict[str, bytes]:
    """Return the archives that are here, by name."""
    return {path.name: path.read_bytes() for path in (tmp_path / "state/files/archives").rglob("*") if path.is_file()}


async def test_whoever_has_the_job_fetches_its_inputs(api: Api, manager: Controller) -> None:
    """Whole, in ranges, and only as long as it has the job."""
    job = await running(api, manager)
    token = job.token.get_secret_value()
    assert (await api.ask("GET", "/files/j/run.sh", token=token)).body == SCRIPT
    head = await api.ask("HEAD", "/files/j/run.sh", token=token)
    assert head.headers["Content-Length"] == str(len(SCRIPT))
    rest = {"Range": "bytes=5-", "If-Range": head.headers["ETag"]}
    part = await api.ask("GET", "/files/j/run.sh", token=token, headers=rest)
    assert (part.status, part.body) == (206, SCRIPT[5:])
    assert job.lease is not None
    await manager.ledger.give_back("j", job.lease.id, "lost", now=job.changed)
    assert (await api.ask("GET", "/files/j/run.sh", token=token)).status == 401
    again = await take(manager)
    assert (await api.ask("GET", "/files/j/run.sh", token=token)).status == 401
    assert (await api.ask("GET", "/files/j/run.sh", token=again.token.get_secret_value())).status == 200


async def test_others_get_nothing(api: Api, manager: Controller) -> None:
    """Not even the operator by this way; what there is not looks the same as what is not theirs."""
    token = (await running(api, manager)).token.get_secret_value()
    for path, shown in (("/files/j/run.sh", ""), ("/files/j/run.sh", api.token), ("/files/other/run.sh", token)):
        assert (await api.ask("GET", path, token=shown)).status == 401
    for path in ("/files/j/other", "/files/j/..%2F..%2Ftoken", "/files/j/%2e%2e"):
        assert (await api.ask("GET", path, token=token)).status in (401, 404)
    assert (await api.ask("GET", "/api/v1/jobs", token=token)).status == 401


async def test_a_job_without_a_lease_has_no_token(api: Api, manager: Controller) -> None:
    """An empty one is nobody's."""
    await submit(api, id="j")
    for headers in ({}, {"Authorization": "Bearer "}, {"Authorization": "Bearer"}):
        assert (await api.ask("GET", "/files/j/run.sh", token="", headers=headers)).status == 401


async def test_an_archive_and_its_manifest_are_kept(api: Api, manager: Controller, tmp_path: Path) -> None:
    """Put again, they are replaced; nothing else can be put."""
    token = (await running(api, manager)).token.get_secret_value()
    for name, content in (("j.tgz", b"first"), ("j.tgz", b"second"), ("j.tgz.sha256", b"sum")):
        assert (await api.ask("PUT", f"/files/j/{name}", token=token, data=content)).status == 201
    assert kept(tmp_path) == {"j.tgz": b"second", "j.tgz.sha256": b"sum"}
    for name in ("run.sh", "other.tgz", "..%2F..%2Fledger.db"):
        assert (await api.ask("PUT", f"/files/j/{name}", token=token, data=b"x")).status == 404
    assert kept(tmp_path).keys() == {"j.tgz", "j.tgz.sha256"}


async def test_a_later_lease_does_not_change_what_counts(api: Api, manager: Controller) -> None:
    """A result of a lease that has run out counts, with the archive of that lease."""
    first = await running(api, manager)
    await api.ask("PUT", "/files/j/j.tgz", token=first.token.get_secret_value(), data=b"first")
    assert first.lease is not None
    await manager.ledger.give_back("j", first.lease.id, "silent", now=first.changed)
    second = await take(manager)
    await api.ask("PUT", "/files/j/j.tgz", token=second.token.get_secret_value(), data=b"second")
    await finish(manager, first)
    late = await api.ask("PUT", "/files/j/j.tgz", token=second.token.get_secret_value(), data=b"late")
    assert late.status == 409
    assert (await api.ask("GET", "/api/v1/jobs/j/output")).body == b"first"


async def test_an_archive_that_breaks_off_is_not_kept(manager: Controller, tmp_path: Path) -> None:
    """Only what is whole has a name, and of what is not nothing stays."""
    async with open_site(manager) as url, client(manager, url) as api:
        token = (await running(api, manager)).token.get_secret_value()
        _, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        head = ("PUT /files/j/j.tgz HTTP/1.1", "Host: localhost", f"Authorization: Bearer {token}", "Content-Length: 9")
        writer.write("\r\n".join([*head, "", "half"]).encode())
        await writer.drain()
        writer.close()
    assert kept(tmp_path) == {}
    assert list((tmp_path / "state/files/incoming").iterdir()) == []


async def test_a_file_has_a_largest_size(tmp_path: Path) -> None:
    """Announced or not."""

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b"x" * 3

    async with (
        lonely_controller(tmp_path, max_bytes=10) as manager,
        open_site(manager) as url,
        client(manager, url) as api,
    ):
        for data in (b"x" * 11, parts()):
            answer = await api.ask("PUT", f"/api/v1/inputs/{SHA256}", data=data)
            assert answer.status == 413
            assert "more than 10 bytes" in answer.json["error"]
