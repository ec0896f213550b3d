"""Forgetting a job: all that is kept of it goes, and what the ledger knows of it last, so that it can be done again."""

from __future__ import annotations

import asyncio

import structlog

from ucvm_agent.controller import folders
from ucvm_agent.controller.files import Files
from ucvm_agent.controller.ledger.base import Ledger
from ucvm_agent.controller.model import Job
from ucvm_agent.controller.settings import Chirp
from ucvm_agent.errors import OrderError, StoreError

log = structlog.get_logger()


class Forgetting:
    """Removes jobs.

    Inputs that were uploaded to us may be those of other jobs, too: `Orphans` removes them when nobody has them.
    """

    def __init__(self, ledger: Ledger, files: Files, chirp: Chirp) -> None:
        self._ledger = ledger
        self._files = files
        self._chirp = chirp

    async def forget(self, job: Job) -> None:
        """Remove a job that has ended, with its folder on the Chirp server and its archives; its id is free then.

        Killed in the middle, it leaves the job, to be forgotten again.

        Raises:
            OrderError: it has not ended; StoreError: a file cannot be removed; LedgerError.
        """
        if not job.ended:
            raise OrderError("has not ended", where=f"job {job.id}", hint="cancel it first")
        now = await self._ledger.job(job.id)
        if now is None or now.submitted != job.submitted:
            return  # somebody else was faster, and the id may be another job's by now
        await asyncio.to_thread(self._remove, job)
        await self._ledger.forget(job)
        log.info("job forgotten", job=job.id, ended=job.changed.isoformat())

    def _remove(self, job: Job) -> None:
        self._files.remove_archives(job.id, job.takers)
        try:
            if self._chirp.folder is not None:
                folders.remove(self._chirp.folder, job.id)
            if self._chirp.done_dir is not None and job.result is not None:
                folders.remove_archive(job.id, self._chirp.done_dir, job.result.ended.astimezone())
        except OSError as error:
            where = str(error.filename or self._chirp.folder)
            raise StoreError(f"a file of a job cannot be removed: {error.strerror}", where=where) from error
