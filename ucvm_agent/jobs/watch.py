"""What makes a machine finish its jobs and take no more: it is about to be taken away, or its disk is full."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from ucvm_agent.errors import SourceError

if TYPE_CHECKING:
    from ucvm_agent.settings import Ec2

log = structlog.get_logger()

SPOT_SECONDS = 5.0
"""Between two questions for a notice, which comes two minutes ahead (references/clouds.md, section 2.1)."""

DISK_SECONDS = 15.0
"""Between two looks at the free space."""

ITEM = "meta-data/spot/instance-action"


async def spot_notices(settings: Ec2) -> AsyncIterator[str]:
    """Yield why EC2 takes this instance away, and an empty string when it has thought better of it."""
    from ucvm_agent.network import http
    from ucvm_agent.sources.imds import MetadataService
    from ucvm_agent.sources.service import Service

    told = ""
    async with http.session(link_local=True) as session:
        services = [
            MetadataService(Service(session, endpoint, setting="sources.ec2.endpoints"), settings)
            for endpoint in settings.endpoints
        ]
        while True:
            for service in services:
                try:
                    notice = _read(await service.get(ITEM, tries=1))
                except SourceError as error:
                    log.debug("no answer about a spot interruption", reason=str(error))
                    continue
                if notice != told:
                    told = notice
                    yield notice
                break
            await asyncio.sleep(SPOT_SECONDS)


async def low_disk(folder: Path, least: int) -> AsyncIterator[str]:
    """Yield why there is too little space for jobs, and an empty string when there is enough again.

    Arguments:
        folder: whose disk it is; or the next one above that exists.
        least: bytes that have to be free; to be enough again it takes a tenth more.
    """
    low = False
    while least:
        free = await asyncio.to_thread(_free, folder)
        if low != (free < least * (1.1 if low else 1)):
            low = not low
            yield f"only {free >> 20} MiB are free in {folder}" if low else ""
        await asyncio.sleep(DISK_SECONDS)


def _read(answer: bytes | None) -> str:
    if not answer:
        return ""
    try:
        notice = json.loads(answer)
        return f"EC2 will {notice['action']} this instance at {notice['time']}"[:200]
    except (ValueError, TypeError, KeyError):
        return "EC2 will take this instance away"


def _free(folder: Path) -> int:
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
