"""Objects from and to moto's S3."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.servers import aws
from tests.servers.relay import relay
from tests.transfer.conftest import names
from ucvm_agent.errors import TransferDelayed, TransferRefused
from ucvm_agent.settings import Transfer
from ucvm_agent.transfer.move import get, put
from ucvm_agent.transfer.schemes import s3

CONTENT = os.urandom(20 * 2**20)


@pytest.fixture
def store() -> Iterator[Mapping[str, str]]:
    with aws.serve() as environment:
        yield environment


@pytest.fixture
def settings(store: Mapping[str, str], settings: Transfer) -> Transfer:
    return settings.model_copy(update={"s3_endpoint": store["AWS_ENDPOINT_URL"]})


async def test_large_files_go_in_parts_both_ways(settings: Transfer, folder: Path) -> None:
    """And small ones at once."""
    (folder / "large").write_bytes(CONTENT)
    (folder / "small").write_bytes(b"x")
    for name in ("large", "small"):
        await put(folder / name, f"s3://bucket/job 1/{name}", settings)
        await get(f"s3://bucket/job 1/{name}", folder / f"{name}.2", settings)
    assert (folder / "large.2").read_bytes() == CONTENT
    assert (folder / "small.2").read_bytes() == b"x"
    head = aws.client("s3").head_object(Bucket="bucket", Key="job 1/large")
    assert head["ETag"].endswith('-3"')
    assert names(folder) == ["large", "large.2", "small", "small.2"]


async def test_a_version_can_be_named(settings: Transfer, folder: Path) -> None:
    """The newest one is not always the right one."""
    client = aws.client("s3")
    client.put_bucket_versioning(Bucket="bucket", VersioningConfiguration={"Status": "Enabled"})
    first = client.put_object(Bucket="bucket", Key="in", Body=b"first")["VersionId"]
    client.put_object(Bucket="bucket", Key="in", Body=b"second")
    await get(f"s3://bucket/in?versionId={first}", folder / "in", settings)
    assert (folder / "in").read_bytes() == b"first"


@pytest.mark.parametrize("url", ["s3://bucket/absent", "s3://absent/file", "s3://bucket/large", "s3://x/file"])
async def test_what_cannot_be_had_is_refused(settings: Transfer, folder: Path, url: str) -> None:
    """Absent or too large; nothing is left."""
    aws.client("s3").put_object(Bucket="bucket", Key="large", Body=b"four")
    with pytest.raises(TransferRefused) as caught:
        await get(url, folder / "in", settings, max_bytes=3)
    assert caught.value.where == url
    assert names(folder) == []


async def test_a_bucket_that_does_not_exist_takes_nothing(settings: Transfer, folder: Path) -> None:
    """It is told what to look at."""
    (folder / "out").write_bytes(b"x")
    with pytest.raises(TransferRefused, match="NoSuchBucket"):
        await put(folder / "out", "s3://absent/file", settings)


async def test_a_store_that_is_away_delays(settings: Transfer, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may come back."""
    monkeypatch.setattr(s3, "TRIES", 1)
    away = settings.model_copy(update={"s3_endpoint": "http://127.0.0.1:1", "deadline": 0.001})
    with pytest.raises(TransferDelayed, match="EndpointConnectionError"):
        await get("s3://bucket/in", folder / "in", away)
    assert names(folder) == []


async def test_a_cancelled_transfer_ends(settings: Transfer, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With all its threads, and without a file."""
    monkeypatch.setattr(s3, "READ", 1.0)
    monkeypatch.setattr(s3, "TRIES", 1)
    aws.client("s3").put_object(Bucket="bucket", Key="in", Body=CONTENT)
    async with relay(urlsplit(settings.s3_endpoint).port or 0, hold_after=2**20) as between:
        slow = settings.model_copy(update={"s3_endpoint": f"http://127.0.0.1:{between.port}"})
        getting = asyncio.create_task(get("s3://bucket/in", folder / "in", slow))
        await between.held.wait()
        getting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await getting
    assert names(folder) == []
    assert aws.client("s3").list_multipart_uploads(Bucket="bucket").get("Uploads", []) == []
