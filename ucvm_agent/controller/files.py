"""The files of jobs that are kept here: inputs that were uploaded, and the archives that agents put.

    files/incoming/…                what is being received
    files/inputs/SHA256             an input, by its checksum: many jobs may have the same
    files/archives/JOB/LEASE/NAME   what the holder of a lease has put: another lease cannot change it

A file is whole and on the disk before it has its name. Several controllers may have the folder in common. Every
function may block.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from ucvm_agent.controller.quiet import QUIET_SECONDS, clock, written
from ucvm_agent.errors import StoreError
from ucvm_agent.files.private_file import sync_folder

FOLDER = "files"
"""In the state folder."""

UNUSED_SECONDS = 86_400.0
"""How long an input is kept that no job has: whoever has uploaded it may be about to submit one."""


class Files:
    """See above.

    Arguments:
        folder: made if it is not there; only we may read it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._incoming = folder / "incoming"

    def open(self) -> None:
        """Make the folders.

        Raises:
            StoreError: they cannot be made.
        """
        with _disk(self._folder):
            for folder in (self._folder, self._incoming, self._folder / "inputs", self._folder / "archives"):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def receive(self) -> Arrival:
        """Return an empty file to write to.

        Raises:
            StoreError: the disk is full or broken.
        """
        with _disk(self._incoming):
            descriptor, path = tempfile.mkstemp(dir=self._incoming)
        return Arrival(descriptor, Path(path))

    def scratch(self) -> IO[bytes]:
        """Return a file without a name, which is gone when it is closed.

        Raises:
            StoreError: the disk is full or broken.
        """
        with _disk(self._incoming):
            return tempfile.TemporaryFile(dir=self._incoming)

    def input(self, sha256: str) -> Path:
        """Return where an input is, or would be.

        Arguments:
            sha256: lower-case hexadecimal.
        """
        return self._folder / "inputs" / sha256

    def keep_input(self, sha256: str) -> bool:
        """Say whether an input is here; if so, it stays for a day at least, so that a job can be submitted with it."""
        with suppress(OSError):
            os.utime(self.input(sha256))
            return True
        return False

    def archive(self, job_id: str, lease: str, name: str) -> Path:
        """Return where what a lease has put is, or would be."""
        return self._folder / "archives" / job_id / lease / name

    def remove_archives(self, job_id: str, leases: Iterable[str]) -> None:
        """Remove what the leases of a job have put.

        Raises:
            StoreError: it cannot be removed.
        """
        folder = self._folder / "archives" / job_id
        with _disk(folder):
            for lease in leases:
                with suppress(FileNotFoundError):
                    shutil.rmtree(folder / lease)
            with suppress(FileNotFoundError):
                if not any(folder.iterdir()):
                    folder.rmdir()

    # What may be there for nobody: crashes leave it, and jobs that are forgotten

    def sweep_incoming(self) -> None:
        """Remove what a crash has left half received.

        Raises:
            StoreError: it cannot be removed.
        """
        with _disk(self._incoming):
            before = clock(self._incoming) - QUIET_SECONDS
            for path in self._incoming.iterdir():
                if written(path) < before:
                    path.unlink(missing_ok=True)

    def old_archives(self, seconds: float) -> list[tuple[str, str]]:
        """Return job and lease of all archives that were put longer ago.

        Raises:
            StoreError: they cannot be listed.
        """
        archives = self._folder / "archives"
        with _disk(archives):
            before = clock(archives) - max(seconds, QUIET_SECONDS)
            found = [path for path in archives.glob("*/*") if written(path) < before]
        return [(path.parent.name, path.name) for path in found]

    def old_inputs(self) -> list[str]:
        """Return the SHA-256 of all inputs that were neither uploaded nor asked for within a day.

        Raises:
            StoreError: they cannot be listed.
        """
        inputs = self._folder / "inputs"
        with _disk(inputs):
            before = clock(inputs) - UNUSED_SECONDS
            return [path.name for path in inputs.iterdir() if written(path) < before]

    def remove_input(self, sha256: str) -> None:
        """Remove an input, unless somebody has asked for it just now.

        Raises:
            StoreError: it cannot be removed.
        """
        inputs = self._folder / "inputs"
        with _disk(inputs):
            if written(inputs / sha256) < clock(inputs) - UNUSED_SECONDS:
                (inputs / sha256).unlink(missing_ok=True)


class Arrival:
    """A file that is being received; unless it is published, nothing of it stays.

    Attributes:
        size: bytes so far.
    """

    def __init__(self, descriptor: int, path: Path) -> None:
        self.size = 0
        self._path = path
        self._file = open(descriptor, "wb")  # noqa: SIM115 - closed by `close`
        self._hash = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """The checksum of what has come so far, hexadecimal."""
        return self._hash.hexdigest()

    def write(self, data: bytes) -> None:
        """Add a piece.

        Raises:
            StoreError: the disk is full or broken.
        """
        with _disk(self._path):
            self._file.write(data)
        self._hash.update(data)
        self.size += len(data)

    def publish(self, target: Path) -> None:
        """Give it its name; what is there is replaced.

        Raises:
            StoreError: the disk is full or broken.
        """
        with _disk(target):
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file.flush()
            os.fsync(self._file.fileno())
            self._path.replace(target)
            for folder in (target.parent, target.parent.parent, target.parent.parent.parent):
                sync_folder(folder)

    def close(self) -> None:
        """Let go."""
        with suppress(OSError):  # what a full disk does not take here is not wanted any more
            self._file.close()
        with suppress(OSError):
            self._path.unlink()


@contextmanager
def _disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"cannot be written: {error.strerror}", where=str(path)) from error
