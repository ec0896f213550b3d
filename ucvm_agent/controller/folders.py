"""The folders of jobs on a Chirp server, and where the archives of jobs go (references/copilot-protocol.md, 4.3, 4.4).

    JOB/inputs-UUID/…    the uploaded inputs of one submission: two that want one id never mix theirs
    JOB/JOB.tgz          the output

The root may be others' as well: only what is known to be of a job of ours is ever removed. Every function may block.
"""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from ucvm_agent.controller.quiet import clock, written
from ucvm_agent.files.private_file import sync_folder

ACCESS = ".__acl"
ANYBODY = "hostname:* rwl\naddress:* rwl\n\n"
"""As the original has it: agents of that time cannot show who they are."""

READERS = "hostname:* rl\naddress:* rl\n\n"
"""Of inputs, which nobody is to change."""

_INPUTS = re.compile("inputs-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


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


def put_in(root: Path, job_id: str, files: Mapping[str, Path]) -> str:
    """Copy input files, by their names, into a folder of a submission's own; return where below the root that is.

    They are on the disk afterwards, or nothing of them is there.

    Raises:
        OSError: they cannot be copied.
    """
    make(root, job_id)
    folder = root / job_id / f"inputs-{uuid.uuid4()}"
    folder.mkdir()
    try:
        (folder / ACCESS).write_text(READERS)
        for name, source in files.items():
            _copy(source, folder / name)
        folder.chmod(0o755)
        for each in (folder, folder.parent, root):
            sync_folder(each)
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return f"{job_id}/{folder.name}"


def abandoned(root: Path, seconds: float) -> list[str]:
    """Return where inputs are that nobody has touched for some time; submissions that were killed leave such ones.

    Raises:
        OSError: the root cannot be read.
    """
    before = clock(root) - seconds
    found = (path for path in root.glob("*/inputs-*") if _INPUTS.fullmatch(path.name) and not path.is_symlink())
    return [f"{path.parent.name}/{path.name}" for path in found if written(path) < before]


def remove_inputs(root: Path, place: str) -> None:
    """Remove the inputs of a submission, if they are there.

    Arguments:
        place: as `put_in` returned it; another one is left alone.

    Raises:
        OSError: they cannot be removed.
    """
    job_id, _, name = place.partition("/")
    if _INPUTS.fullmatch(name):
        with suppress(FileNotFoundError):
            shutil.rmtree(root / job_id / name)


def remove(root: Path, job_id: str) -> None:
    """Remove the folder of a job, if it is there, with whatever agents have put into it.

    Raises:
        OSError: it cannot be removed.
    """
    with suppress(FileNotFoundError):
        shutil.rmtree(root / job_id)


def remove_if_empty(root: Path, job_id: str) -> None:
    """Remove the folder of a job, if there is nothing in it but who may use it.

    Raises:
        OSError: it cannot be removed.
    """
    folder = root / job_id
    with suppress(FileNotFoundError):
        if {path.name for path in folder.iterdir()} <= {ACCESS}:
            (folder / ACCESS).unlink(missing_ok=True)
            folder.rmdir()


def remove_archive(job_id: str, done: Path, when: datetime) -> None:
    """Remove the archive of a job from where it was put away, if it is there.

    Arguments:
        when: as for `put_away`.

    Raises:
        OSError: it cannot be removed.
    """
    folder = done / f"{when:%Y%m%d}"
    (folder / f"{job_id}.tgz").unlink(missing_ok=True)


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


def with_archive(root: Path) -> list[str]:
    """Return the ids of the jobs whose archives lie in their folders.

    Raises:
        OSError: the root cannot be read.
    """
    return [folder.name for folder in root.iterdir() if (folder / f"{folder.name}.tgz").is_file()]


def _move(source: Path, target: Path) -> None:
    with suppress(OSError):
        source.rename(target)
        return
    if not source.exists():
        return  # another controller has just moved it
    _copy(source, target)  # another file system
    source.unlink()


def _copy(source: Path, target: Path) -> None:
    """Whole under its name, or not at all."""
    partial = target.with_name(f".{target.name}.partial")
    with source.open("rb") as reader, partial.open("wb") as writer:
        shutil.copyfileobj(reader, writer)
        writer.flush()
        os.fsync(writer.fileno())
    partial.chmod(0o666)
    partial.rename(target)
