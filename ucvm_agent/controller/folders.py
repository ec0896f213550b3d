"""The folders of jobs on a Chirp server, and where the archives of jobs go (references/copilot-protocol.md, 4.3, 4.4).

Every function may block.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from datetime import datetime
from pathlib import Path

ACCESS = ".__acl"
ANYBODY = "hostname:* rwl\naddress:* rwl\n\n"
"""As the original has it: agents of that time cannot show who they are."""


def make(root: Path, job_id: str) -> None:
    """Make the folder of a job, open to all clients of the Chirp server; one that is there stays as it is.

    Arguments:
        root: of the Chirp server.
        job_id: a sound one.

    Raises:
        OSError: it cannot be made.
    """
    folder = root / job_id
    folder.mkdir(exist_ok=True)
    access = folder / ACCESS
    if not access.exists():
        access.write_text(ANYBODY)
    access.chmod(0o666)
    folder.chmod(0o777)


def put_in(root: Path, job_id: str, name: str, source: Path) -> None:
    """Copy an input file into the folder of a job; what is there is replaced.

    Raises:
        OSError: it cannot be copied.
    """
    _copy(source, root / job_id / name)


def put_away(root: Path, job_id: str, done: Path, when: datetime) -> Path | None:
    """Move the archive of a job to `done/YYYYMMDD`, and return where it is then; None if there is none.

    Done again after a crash in the middle, it does what is left.

    Arguments:
        when: the job ended, in local time.

    Raises:
        OSError: it cannot be moved.
    """
    name = f"{job_id}.tgz"
    archive, folder = root / job_id / name, done / f"{when:%Y%m%d}"
    target = folder / name
    if archive.is_symlink() or not archive.is_file():
        return target if target.is_file() else None
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        if (done / ACCESS).is_file():
            shutil.copyfile(done / ACCESS, folder / ACCESS)
        folder.chmod(0o777)
    _move(archive, target)
    target.chmod(0o666)
    return target


def _move(source: Path, target: Path) -> None:
    with suppress(OSError):
        source.rename(target)
        return
    _copy(source, target)  # another file system
    source.unlink()


def _copy(source: Path, target: Path) -> None:
    """Whole under its name, or not at all."""
    partial = target.with_name(f".__{target.name}")
    with source.open("rb") as reader, partial.open("wb") as writer:
        shutil.copyfileobj(reader, writer)
        writer.flush()
        os.fsync(writer.fileno())
    partial.chmod(0o666)
    partial.rename(target)
