"""The archives that jobs have left: here, on the Chirp server, or where the done ones are put away."""

from __future__ import annotations

import asyncio
import gzip
import os
import shutil
import stat
import tarfile
import zlib
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import IO, BinaryIO

import structlog

from ucvm_agent.controller.files import Files
from ucvm_agent.controller.model import Job
from ucvm_agent.controller.settings import Chirp
from ucvm_agent.errors import OrderError

log = structlog.get_logger()

MOST_BYTES = 2 * 1024**3
"""Bytes of an archive, unpacked, that are searched for a file."""

CHUNK = 64 * 1024


class Archives:
    """Finds archives, and reads them: agents made them, so nothing in them is trusted."""

    def __init__(self, files: Files, chirp: Chirp) -> None:
        self._files = files
        self._chirp = chirp

    async def open(self, job: Job) -> BinaryIO:
        """Open the archive of a job.

        Raises:
            OrderError: there is none.
        """
        file = await asyncio.to_thread(self._open, job)
        if file is None:
            hint = "" if job.ended else "it has not ended yet"
            raise OrderError("has left no archive here", where=f"job {job.id}", hint=hint)
        return file

    async def read(self, job: Job, name: str, offset: int) -> AsyncGenerator[bytes]:
        """Yield a file that a job has left, such as `stdout`, from an offset on; nothing if it is not there.

        Raises:
            OrderError: there is no archive.
        """
        with await self.open(job) as archive, await asyncio.to_thread(self._files.scratch) as copy:
            await asyncio.to_thread(_extract, archive, name, copy)
            await asyncio.to_thread(copy.seek, offset)
            while data := await asyncio.to_thread(copy.read, CHUNK):
                yield data

    def _open(self, job: Job) -> BinaryIO | None:
        for path in self._places(job):
            try:
                # Agents may write to the Chirp server: what they put there is no link, and no pipe.
                descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            except OSError as error:
                log.warning("an archive cannot be read", job=job.id, reason=error.strerror)
                continue
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                return os.fdopen(descriptor, "rb")
            os.close(descriptor)
        return None

    def _places(self, job: Job) -> Iterator[Path]:
        if job.result is None:
            return
        name = f"{job.id}.tgz"
        yield self._files.archive(job.id, job.result.lease, name)
        if self._chirp.done_dir is not None:
            yield self._chirp.done_dir / f"{job.result.ended.astimezone():%Y%m%d}" / name
        if self._chirp.folder is not None:
            yield self._chirp.folder / job.id / name


def _extract(archive: BinaryIO, name: str, copy: IO[bytes]) -> None:
    """Copy a regular file out of an archive, as far as it is sound; the archive is read once and never unpacked."""
    try:
        # Not "r|gz": tarfile's own reader of gzip ends a damaged file with TypeError.
        with gzip.GzipFile(fileobj=archive) as unpacked, tarfile.open(fileobj=unpacked, mode="r|") as members:
            for member in members:
                if member.offset_data + member.size > MOST_BYTES:
                    log.warning("an archive is too large to be searched", name=name)
                    return
                if member.isreg() and member.name in (name, f"./{name}") and (file := members.extractfile(member)):
                    shutil.copyfileobj(file, copy)
                    return
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        log.warning("an archive is damaged, or there is no room for a file of it", name=name, reason=str(error))
