"""Bringing the output of a job where a manager wants it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from ucvm_agent.copilot.messages import StoreOutputDir
from ucvm_agent.errors import TransferRefused
from ucvm_agent.transfer.location import chirp_url

if TYPE_CHECKING:
    from ucvm_agent.settings import Transfer

log = structlog.get_logger()

MANIFEST = ".sha256"
"""Behind the name of the archive: a file in the form of `sha256sum`."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where the archive goes, and where the manifest that is put beside it."""

    archive: str
    manifest: str
    token: str = ""


def target_of(order: StoreOutputDir, archive: str) -> Target:
    """Return where an order wants the archive of this name.

    On a Chirp server that is `<job id>/<job id>.tgz`, whatever `outputDir` says (section 2.8).

    Raises:
        TransferRefused: it names no place.
    """
    if order.output_url:
        path, mark, query = order.output_url.partition("?")
        return Target(order.output_url, f"{path}{MANIFEST}{mark}{query}", order.output_token)
    url = chirp_url(order.output_chirp_url, order.job_id, archive)
    return Target(url, url + MANIFEST)


async def send(archive: Path, order: StoreOutputDir, settings: Transfer) -> str:
    """Send an archive and its manifest; return the archive's SHA-256, in hexadecimal.

    Raises:
        TransferError: it did not arrive.
    """
    # Here, since they load what only those need who move files.
    from ucvm_agent.transfer.manifest import write_manifest
    from ucvm_agent.transfer.move import put

    target = target_of(order, archive.name)
    manifest = await asyncio.to_thread(write_manifest, archive)
    await put(archive, target.archive, settings, token=target.token)
    try:
        await put(manifest, target.manifest, settings, token=target.token)
    except TransferRefused as error:
        log.warning("the manifest of a job is not wanted", archive=archive.name, reason=str(error))
    return (await asyncio.to_thread(manifest.read_text, "utf-8", "surrogateescape")).partition(" ")[0]
