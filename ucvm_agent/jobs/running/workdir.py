"""Where jobs work: for each a folder of its own, and one of control that it cannot see.

WORK_DIR/jobs/ID        0700; root's while the input comes, then the job's (references, section 6.6)
WORK_DIR/control/ID     0700, root's: the records of agent and supervisor, and the archive
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakValueDictionary

from ucvm_agent.errors import JobError, JobRefused
from ucvm_agent.jobs.running.account import Account
from ucvm_agent.jobs.running.job import archive_name, check_id
from ucvm_agent.jobs.running.record import sync_folder
from ucvm_agent.jobs.running.tool import run_tool

REMOVE_SECONDS = 600.0


@dataclass(frozen=True)
class Folder:
    """The folders of a job; `path` is hostile once the job has run."""

    job: str
    path: Path
    control: Path

    @property
    def archive(self) -> Path:
        """Where `archive.pack` puts the archive."""
        return self.control / archive_name(self.job)

    def place(self, name: str) -> Path:
        """Return the path for an input file, whose folder is made; only before the job has been started.

        Arguments:
            name: one of `Job.input_files`.

        Raises:
            JobError: the folder cannot be made.
        """
        path = self.path / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _failure(error, path.parent) from error
        return path


class Workdir:
    """The folder of all jobs.

    Arguments:
        path: absolute; made if need be.
    """

    def __init__(self, path: Path) -> None:
        self._jobs = path / "jobs"
        self._control = path / "control"
        # A job that is handed out again may come while what it has left here is being removed.
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def folder(self, job_id: str) -> Folder:
        """Return where the folders of a job are, whether they exist or not.

        Raises:
            JobRefused: that is no job id.
        """
        check_id(job_id)
        return Folder(job_id, self._jobs / job_id, self._control / job_id)

    async def ids(self) -> list[str]:
        """Return the ids of the jobs that have folders here, of either kind."""
        return await asyncio.to_thread(self._ids)

    async def make(self, job_id: str) -> Folder:
        """Make empty folders for a job; what was there of the same name is removed.

        Raises:
            JobRefused: that is no job id; JobError: the system does not let us.
        """
        folder = self.folder(job_id)
        async with self._turn(job_id):
            await _remove_both(folder)
            await asyncio.to_thread(self._make, folder)
        return folder

    async def remove(self, job_id: str, *, unless: Callable[[], bool] = lambda: False) -> None:
        """Remove the folders of a job that does not run; the one of control last.

        By rm(1), since a job can make trees that are deeper than any recursion; it follows no link.

        Arguments:
            unless: whether another job of the same id has them; asked when nobody can make them meanwhile.

        Raises:
            JobError: something could not be removed.
        """
        folder = self.folder(job_id)
        async with self._turn(job_id):
            if not unless():
                await _remove_both(folder)

    def _turn(self, job_id: str) -> asyncio.Lock:
        return self._turns.setdefault(job_id, asyncio.Lock())

    def _ids(self) -> list[str]:
        found: set[str] = set()
        for above in (self._jobs, self._control):
            if above.is_dir():
                found.update(entry.name for entry in above.iterdir())
        return sorted(name for name in found if _is_id(name))

    def _make(self, folder: Folder) -> None:
        try:
            for path, mode in ((self._jobs.parent, 0o711), (self._jobs, 0o711), (self._control, 0o700)):
                path.mkdir(mode=0o755, parents=True, exist_ok=True)
                path.chmod(mode)
            for path in (folder.control, folder.path):
                path.mkdir(mode=0o700)
                sync_folder(path.parent)
        except OSError as error:
            raise _failure(error, folder.path) from error


def hand_over(folder: Folder, account: Account) -> None:
    """Give a job's folder to the account, the folder itself last: until then nobody else gets in.

    Raises:
        JobError: it cannot be given, or the account could not get there.
    """
    if not account.other:
        return
    try:
        for above in folder.path.parents:
            if not above.stat().st_mode & stat.S_IXOTH:
                hint = f"chmod o+x {above}, or choose another jobs.work_dir"
                raise JobError(f"user {account.name} may not pass through it", where=str(above), hint=hint)
        for path in (*folder.path.rglob("*"), folder.path):
            os.chown(path, account.uid, account.gid, follow_symlinks=False)
    except OSError as error:
        raise _failure(error, folder.path) from error


def _is_id(name: str) -> bool:
    try:
        check_id(name)
    except JobRefused:
        return False
    return True


def _failure(error: OSError, path: Path) -> JobError:
    return JobError(error.strerror or str(error), where=str(path), hint="jobs.work_dir needs space and a root agent")


async def _remove_both(folder: Folder) -> None:
    for path in (folder.path, folder.control):
        if await asyncio.to_thread(os.path.lexists, path):
            await _remove(path)


async def _remove(path: Path) -> None:
    try:
        status, _, errors = await run_tool("rm", "-rf", "--", str(path), seconds=REMOVE_SECONDS)
    except JobError as error:
        raise JobError(f"cannot be removed: {error.message}", where=str(path)) from error
    if status:
        raise JobError(f"cannot be removed: {errors[:200]}", where=str(path))
