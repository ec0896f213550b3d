"""Gets and puts files: whole, checked, within the limits of the settings, again and again until it works.

Importing it loads tenacity, so import it where files are moved.
"""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog
import tenacity

from ucvm_agent.errors import TransferDelayed, TransferError, TransferRefused
from ucvm_agent.network import retry
from ucvm_agent.settings import Transfer as Settings
from ucvm_agent.transfer.base import Transfer
from ucvm_agent.transfer.checksum import sha256_of
from ucvm_agent.transfer.location import Location, parse
from ucvm_agent.transfer.partial import DiskFull, Partial, disk
from ucvm_agent.transfer.schemes import transfer_of

log = structlog.get_logger()


async def get(
    url: str,
    target: Path,
    settings: Settings,
    *,
    token: str = "",
    max_bytes: int | None = None,
    delayed: Callable[[str], object] = lambda _: None,
) -> None:
    """Fetch a file; when this returns it is there, whole and safe from a power cut. Mode 0600, and ours.

    A call that fails with `TransferDelayed`, is cancelled or is killed leaves what it has beside the target, and the
    next one, in this process or another, goes on from there if the server allows it.

    Arguments:
        url: see `location.parse`; a checksum in its fragment is verified.
        target: replaced if it exists; its folder exists.
        settings: `[transfer]`.
        token: bearer token for this URL.
        max_bytes: less than the settings allow.
        delayed: told why the first try has failed, if it is not the last one.

    Raises:
        TransferDelayed: it could not be had until `transfer.deadline`.
        TransferRefused: it never can.
    """
    location = parse(url, token)
    transfer = transfer_of(location, settings)
    limit = settings.max_bytes if max_bytes is None else min(max_bytes, settings.max_bytes)
    spoilt = False

    async def once() -> None:
        nonlocal spoilt
        try:
            await _fetch(transfer, location, Partial(target, location.url, limit))
        except _Spoilt as error:
            if spoilt:
                raise TransferRefused(error.message, hint="was the file changed after its URL was written?") from None
            spoilt = True
            raise

    await _insist(once, location, settings, delayed)
    log.info("file fetched", url=location.shown, target=str(target))


async def put(source: Path, url: str, settings: Settings, *, token: str = "") -> None:
    """Send a file of this machine; when this returns, the other end has it.

    Arguments:
        source: a regular file, which nobody changes meanwhile.
        url: see `location.parse`; what is there is replaced.
        settings: `[transfer]`.
        token: bearer token for this URL.

    Raises:
        TransferDelayed: it could not be sent until `transfer.deadline`.
        TransferRefused: it never can, or there is no such file.
    """
    location = parse(url, token)
    transfer = transfer_of(location, settings)
    path = await asyncio.to_thread(_sendable, source, settings.max_bytes)

    async def once() -> None:
        await transfer.send(path, location)

    await _insist(once, location, settings)
    log.info("file sent", url=location.shown, source=str(source))


class _Spoilt(TransferDelayed):
    """What has come is not what the checksum says."""


async def _fetch(transfer: Transfer, location: Location, partial: Partial) -> None:
    try:
        await asyncio.to_thread(partial.open)
        await transfer.fetch(location, partial)
        await asyncio.to_thread(_verify, partial, location.sha256)
        await asyncio.to_thread(partial.publish)
    except (TransferRefused, DiskFull, _Spoilt):
        await asyncio.to_thread(partial.discard)
        raise
    finally:
        await asyncio.to_thread(partial.close)


def _verify(partial: Partial, expected: str) -> None:
    if not expected:
        return
    with disk(partial.target):
        partial.file.seek(0)
        found = sha256_of(partial.file)
    if found != expected:
        raise _Spoilt(f"the file has the checksum {found[:12]}…, not {expected[:12]}…")


def _sendable(source: Path, limit: int) -> Path:
    with disk(source):
        found = source.lstat()
    if not stat.S_ISREG(found.st_mode):
        raise TransferRefused("only a regular file can be sent", where=str(source))
    if found.st_size > limit:
        hint = "transfer.max_bytes in the settings"
        raise TransferRefused(
            f"the file has more than the {limit} bytes that are allowed", where=str(source), hint=hint
        )
    return source.absolute()


async def _insist(
    once: Callable[[], Awaitable[None]],
    location: Location,
    settings: Settings,
    delayed: Callable[[str], object] = lambda _: None,
) -> None:
    """Call until it works, or time is up; errors name the URL."""

    async def within_time() -> None:
        try:
            async with asyncio.timeout(settings.timeout):
                await once()
        except TimeoutError:
            raise TransferDelayed(f"it took longer than {settings.timeout:g} s", hint="transfer.timeout") from None

    def wait(state: tenacity.RetryCallState) -> float:
        error = state.outcome and state.outcome.exception()
        seconds = max(retry.AWAY(state), error.after if isinstance(error, TransferDelayed) else 0.0)
        log.info("transfer delayed", url=location.shown, reason=str(error), retry_seconds=round(seconds, 1))
        if state.attempt_number == 1:
            delayed(f"{location.shown}: {error}")
        return seconds

    insistent = tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception_type(TransferDelayed),
        stop=tenacity.stop_before_delay(settings.deadline),
        wait=wait,
        reraise=True,
    )
    try:
        await insistent(within_time)
    except TransferError as error:
        error.where = error.where or location.shown
        raise
