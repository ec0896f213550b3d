"""Files that are there for nobody: what a crash has left, and what was uploaded for jobs that are no more."""

from __future__ import annotations

import asyncio
from pathlib import Path

import structlog

from ucvm_agent.controller import folders
from ucvm_agent.controller.files import Files
from ucvm_agent.controller.ledger.base import Ledger
from ucvm_agent.controller.quiet import QUIET_SECONDS
from ucvm_agent.errors import StoreError

log = structlog.get_logger()


class Orphans:
    """Sweeps what no job has, and nobody can be about to give to one.

    Arguments:
        chirp: the root of the Chirp server; None = there is none.
        archive_seconds: how long the archive of a job that is not known stays: a Redis may have lost what it knew.
    """

    def __init__(self, ledger: Ledger, files: Files, chirp: Path | None, archive_seconds: float) -> None:
        self._ledger = ledger
        self._files = files
        self._chirp = chirp
        self._archive_seconds = archive_seconds

    async def sweep(self) -> None:
        """Sweep all places.

        Raises:
            StoreError, LedgerError: one cannot be looked at.
        """
        await asyncio.to_thread(self._files.open)
        await asyncio.to_thread(self._files.sweep_incoming)
        await self._sweep_inputs()
        if self._archive_seconds:
            await self._sweep_archives()
        if self._chirp is not None:
            await self._sweep_chirp(self._chirp)

    async def _sweep_inputs(self) -> None:
        old = await asyncio.to_thread(self._files.old_inputs)
        used = await self._ledger.uploads() if old else set()
        for sha256 in old:
            if sha256 not in used:
                await asyncio.to_thread(self._files.remove_input, sha256)
                log.info("an input of no job is removed", sha256=sha256)

    async def _sweep_archives(self) -> None:
        for job_id, lease in await asyncio.to_thread(self._files.old_archives, self._archive_seconds):
            job = await self._ledger.job(job_id)
            if job is None or lease not in job.takers:
                await asyncio.to_thread(self._files.remove_archives, job_id, (lease,))
                log.info("an archive of no job is removed", job=job_id, lease=lease)

    async def _sweep_chirp(self, root: Path) -> None:
        """Remove what was laid down for jobs that never came into the queue."""
        try:
            for place in await asyncio.to_thread(folders.abandoned, root, QUIET_SECONDS):
                job_id = place.partition("/")[0]
                job = await self._ledger.job(job_id)
                if job is None or job.description.input_dir != place:
                    await asyncio.to_thread(folders.remove_inputs, root, place)
                    log.info("inputs of no job are removed", place=place)
                if job is None:
                    await asyncio.to_thread(folders.remove_if_empty, root, job_id)
        except OSError as error:
            raise StoreError(f"cannot be swept: {error.strerror}", where=str(error.filename or root)) from error
