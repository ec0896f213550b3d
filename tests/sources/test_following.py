"""Sources whose user-data change while the daemon runs."""

from __future__ import annotations

import asyncio
import os
from base64 import b64encode
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.servers.imds import Imds
from tests.servers.metadata import MetadataServer, azure, cloudstack, gce, openstack
from tests.servers.seed import SeedServer
from ucvm_agent.errors import SourceUnavailable
from ucvm_agent.settings import Azure, CloudStack, Ec2, File, Gce, NoCloud, OpenStack
from ucvm_agent.sources import azure as azure_source
from ucvm_agent.sources import base, ec2, file, following, nocloud
from ucvm_agent.sources import cloudstack as cloudstack_source
from ucvm_agent.sources import gce as gce_source
from ucvm_agent.sources import openstack as openstack_source
from ucvm_agent.sources.base import Found
from ucvm_agent.sources.following import follow
from ucvm_agent.sources.machine import Machine

SHORT = 0.02


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten what separates two looks."""
    monkeypatch.setattr(following, "AGAIN", SHORT)
    monkeypatch.setattr(file, "LOOK_SECONDS", SHORT)
    monkeypatch.setattr(file, "SETTLE_SECONDS", SHORT)
    monkeypatch.setattr(gce_source, "PAUSE_SECONDS", SHORT)


async def data(news: AsyncIterator[Found]) -> bytes | None:
    async with asyncio.timeout(20):
        return (await anext(news)).user_data


async def test_a_file_that_is_written_anew(tmp_path: Path) -> None:
    """Only other content is news, and a file that is away for a while is none."""
    path = tmp_path / "user-data"
    path.write_text("one")
    source = file.Source(File(path=str(path)))
    news = follow(source, await source.fetch(), 300)
    waiting = asyncio.ensure_future(data(news))
    os.utime(path, (1, 1))
    await asyncio.sleep(5 * SHORT)
    path.unlink()
    await asyncio.sleep(5 * SHORT)
    assert not waiting.done()
    (tmp_path / "new").write_text("two")
    (tmp_path / "new").rename(path)
    assert await waiting == b"two"


async def test_a_change_between_the_first_answer_and_the_watch(tmp_path: Path) -> None:
    """It is not lost."""
    path = tmp_path / "user-data"
    path.write_text("one")
    source = file.Source(File(path=str(path)))
    known = await source.fetch()
    path.write_text("two")
    assert await data(follow(source, known, 300)) == b"two"


async def test_metadata_of_ec2_are_asked_for_again() -> None:
    """An answer without user-data is no news, for services give such in passing."""
    async with Imds(b"one") as imds:
        source = ec2.Source(Ec2(endpoints=(imds.url,)))
        news = follow(source, await source.fetch(), SHORT)
        waiting = asyncio.ensure_future(data(news))
        imds.user_data = None
        await asyncio.sleep(5 * SHORT)
        assert not waiting.done()
        imds.user_data = b"two"
        assert await waiting == b"two"


async def test_metadata_of_openstack_are_asked_for_again() -> None:
    """A service that is away for a while is waited for."""
    async with openstack(b"one") as service:
        source = openstack_source.Source(OpenStack(endpoints=(service.url,)))
        news = follow(source, await source.fetch(), SHORT)
        service.statuses += [503, 404]
        service.documents = {**service.documents, "/openstack/2018-08-27/user_data": b"two"}
        assert await data(news) == b"two"


async def test_metadata_of_azure_are_asked_for_again(tmp_path: Path) -> None:
    """But CustomData of a medium stand, whatever the service says once that is ejected."""
    async with azure(b"one") as service:
        source = azure_source.Source(Azure(endpoint=service.url, device=str(tmp_path / "ejected")))
        known = await source.fetch()
        news = follow(source, known, SHORT)
        service.documents = azure(b"two").documents
        assert await data(news) == b64encode(b"two")
        custom = replace(known, origin="/dev/sr0 (CustomData)")
        assert [found async for found in follow(source, custom, SHORT)] == []


async def test_the_router_of_cloudstack_is_asked_again() -> None:
    """A router that restarts is waited for."""
    async with cloudstack(b"one") as service:
        source = cloudstack_source.Source(CloudStack(routers=(service.url,)))
        news = follow(source, await source.fetch(), SHORT)
        service.statuses += [503]
        service.documents = {**service.documents, "/latest/user-data": b"two"}
        assert await data(news) == b"two"


async def test_a_seed_at_a_url_is_read_again(tmp_path: Path) -> None:
    """A seed in a folder is not."""
    documents = {"user-data": b"one", "meta-data": b""}
    async with SeedServer(documents) as server:
        source = nocloud.Source(NoCloud(seed=server.url, allow_insecure_seed=True), Machine())
        news = follow(source, await source.fetch(), SHORT)
        documents["user-data"] = b"two"
        assert await data(news) == b"two"
    for name, content in documents.items():
        (tmp_path / name).write_bytes(content)
    source = nocloud.Source(NoCloud(seed=str(tmp_path)), Machine())
    assert [found async for found in follow(source, await source.fetch(), SHORT)] == []


def changed(service: MetadataServer, attributes: dict[str, str], etag: str) -> None:
    service.change(gce(attributes).documents, etag)


async def test_gce_holds_the_question_until_something_changes() -> None:
    """So there is but one question until then, and a change of something else is no news."""
    async with asyncio.timeout(20), gce({"user-data": "one"}) as service:
        changed(service, {"user-data": "one"}, "e1")
        source = gce_source.Source(Gce(endpoints=(service.url,)))
        news = follow(source, await source.fetch(), 300)
        waiting = asyncio.ensure_future(data(news))
        assert await service.held.get() == "e1"
        assert len(service.requests) == 3
        changed(service, {"user-data": "one", "ssh-keys": ""}, "e2")
        assert await service.held.get() == "e2"
        assert not waiting.done()
        changed(service, {"user-data": "two"}, "e3")
        assert await waiting == b"two"


@pytest.mark.parametrize(
    "source", [file.Source(File(path="/etc/hostname")), ec2.Source(Ec2()), gce_source.Source(Gce())]
)
async def test_following_can_be_switched_off(source: base.Source) -> None:
    """Then nothing is asked or looked at."""
    assert [found async for found in follow(source, Found(source.name, "", b""), 0)] == []


class Flaky(base.Source):
    """A source of a third party."""

    name = "flaky"

    def __init__(self, *faults: Exception) -> None:
        self._faults = list(faults)

    async def fetch(self) -> Found:
        raise NotImplementedError

    async def changes(self, known: Found, pause: float) -> AsyncGenerator[Found, None]:
        if self._faults:
            raise self._faults.pop(0)
        yield Found("flaky", "here", b"two")


async def test_faults_are_logged_once_and_outlived() -> None:
    """A bug of a source ends neither the watch nor the daemon."""
    away = [SourceUnavailable("away") for _ in range(3)]
    with capture_logs() as logs:
        assert await data(follow(Flaky(*away, ValueError("secret")), Found("flaky", "here", b"one"), 1)) == b"two"
    warnings = [entry["reason"] for entry in logs if entry["log_level"] == "warning"]
    assert warnings[0] == "away"
    assert len(warnings) == 2
    assert "secret" not in str(logs)
