"""`s3://BUCKET/KEY[?versionId=V]`: Amazon S3, and stores that speak its language (`transfer.s3_endpoint`).

References/clouds.md, section 4.5. The key is what follows the bucket, as it stands. Large objects go in parts, several
at a time; what was begun is aborted when it fails or is cancelled.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from functools import partial as bind
from io import FileIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from botocore.exceptions import BotoCoreError, ClientError
from s3transfer.exceptions import RetriesExceededError
from s3transfer.manager import TransferConfig, TransferManager
from s3transfer.subscribers import BaseSubscriber

from ucvm_agent.errors import TransferDelayed, TransferError, TransferRefused
from ucvm_agent.network.aws import Cloud, fault
from ucvm_agent.transfer import base
from ucvm_agent.transfer.location import Location
from ucvm_agent.transfer.partial import Partial, disk

PART = 8 * 2**20
"""Bytes of a part, and the size from which an object has parts."""
PARALLEL = 4
"""Parts at a time: each is in memory."""
CONNECT, READ, TRIES = 5.0, 20.0, 3
"""Seconds for a connection and for a piece of an answer; tries of one call, beside those of the whole transfer."""


class Transfer(base.Transfer):
    """Moves objects."""

    async def fetch(self, source: Location, partial: Partial) -> None:
        """See `Transfer.fetch`; it always begins anew."""
        await asyncio.to_thread(partial.restart)
        bucket, key = _object(source)
        named = parse_qs(urlsplit(source.url).query).get("versionId")
        version = {"VersionId": named[0]} if named else {}
        client = await self._client()
        head = await asyncio.to_thread(_call, bind(client.head_object, Bucket=bucket, Key=key, **version))
        await asyncio.to_thread(partial.expect, head["ContentLength"])
        with disk(partial.target), _Bounded(partial) as file:
            await _finish(client, lambda manager, done: manager.download(bucket, key, file, version, [done]))
        await asyncio.to_thread(partial.written)

    async def send(self, source: Path, target: Location) -> None:
        """See `Transfer.send`."""
        bucket, key = _object(target)
        more = {"ContentType": "application/octet-stream"}
        client = await self._client()
        with disk(source):
            await _finish(client, lambda manager, done: manager.upload(str(source), bucket, key, more, [done]))

    async def _client(self) -> Any:
        cloud = Cloud(
            "",
            endpoint=self.settings.s3_endpoint,
            ca_file=self.settings.ca_file,
            connect=CONNECT,
            read=READ,
            tries=TRIES,
        )
        return await asyncio.to_thread(_call, bind(cloud.client, "s3"))


class _Bounded(FileIO):
    """The content of a partial file for threads of boto3, with its limit."""

    def __init__(self, partial: Partial) -> None:
        super().__init__(os.dup(partial.file.fileno()), "r+b")
        self._partial = partial

    def write(self, data: Any) -> int:
        """Write all of it."""
        if self.tell() + len(data) > self._partial.limit:
            raise TransferRefused("the object has more bytes than are allowed", hint="transfer.max_bytes")
        rest = memoryview(data)
        while rest:
            rest = rest[super().write(rest) :]
        return len(data)


class _Done(BaseSubscriber):  # type: ignore[misc]  # s3transfer has no types
    """Tells the event loop that a transfer has ended: no thread of its own has to wait for that."""

    def __init__(self) -> None:
        self.event = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def on_done(self, future: Any, **_: object) -> None:
        """See `BaseSubscriber.on_done`; called in a thread of boto3."""
        self._loop.call_soon_threadsafe(self.event.set)


async def _finish(client: Any, begin: Callable[[TransferManager, _Done], Any]) -> None:
    """Do what `begin` begins; when this returns, no thread works on it any more."""
    config = TransferConfig(multipart_threshold=PART, multipart_chunksize=PART, max_request_concurrency=PARALLEL)
    manager = TransferManager(client, config)
    done = _Done()
    future = begin(manager, done)
    try:
        await done.event.wait()
        _call(future.result)
    finally:
        future.cancel()  # manager.shutdown(cancel=True) fails if there is something to cancel
        await asyncio.to_thread(manager.shutdown)


def _object(location: Location) -> tuple[str, str]:
    return location.server, urlsplit(location.url).path.lstrip("/")


def _call(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except RetriesExceededError as error:
        raise TransferDelayed(f"the object broke off: {type(error.last_exception).__name__}") from None
    except (ClientError, BotoCoreError, ValueError) as error:
        found = fault(error)
        kind: type[TransferError] = TransferDelayed if found.passes else TransferRefused
        raise kind(found.message, hint=found.hint) from None
