"""Packs a job's folder as the account of jobs.

    python -P -S -m ucvm_agent.jobs.running.packer FOLDER ARCHIVE NAME UID GID LIMIT

A program of its own: the folder is hostile, so it is read with the rights of who made it, and can show nothing that
the job could not see. ARCHIVE is the number of a descriptor that is open for writing. Standard output is one line of
JSON, how many members there are and which were left out. The exit status is `NO_ROOM` if the disk is full.
"""

from __future__ import annotations

import dataclasses
import errno
import gzip
import json
import os
import stat
import sys
import tarfile
from dataclasses import dataclass, field

from ucvm_agent.jobs.running.account import Account

NO_ROOM = 28
"""Exit status."""

MAX_DEPTH = 100
"""Folders in each other; what is deeper is left out."""

MAX_SHOWN = 100
"""Names of what was left out that are told."""

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True)
class Report:
    """What was packed, in the words of standard output.

    Arguments:
        members: how many files, links and folders.
        left_out: names of some that were not packed; `left_out_count` tells how many there are.
    """

    members: int
    left_out: list[str]
    left_out_count: int


@dataclass
class Packer:
    """Writes the members of an archive.

    Arguments:
        archive: what they are written to.
        leave_out: name of a file at the top that is not packed: the archive's own.
        room: bytes of content that may still be packed.
    """

    archive: tarfile.TarFile
    leave_out: str
    room: int
    members: int = 0
    left_out: list[str] = field(default_factory=list)
    left_out_count: int = 0

    def pack(self, folder: int, path: str = ".", depth: int = 0) -> None:
        """Pack an open folder and all that is in it, in the order of the names.

        Raises:
            OSError: the archive cannot be written; what cannot be read is left out.
        """
        self._add(_member(path, os.fstat(folder)))
        for name in sorted(os.listdir(folder)):
            if depth or name != self.leave_out:
                self._pack_entry(folder, name, f"{path}/{name}", depth)

    def _pack_entry(self, folder: int, name: str, path: str, depth: int) -> None:
        """Pack what is at a name, unless it is nothing that belongs into an archive, or too much."""
        try:
            there = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISLNK(there.st_mode):
                return self._add(_member(path, there, os.readlink(name, dir_fd=folder)))
            wanted = stat.S_ISREG(there.st_mode) or (stat.S_ISDIR(there.st_mode) and depth < MAX_DEPTH)
            descriptor = os.open(name, _READ, dir_fd=folder) if wanted else None
        except OSError:
            descriptor = None
        if descriptor is None:
            return self._leave_out(path)
        try:
            return self._pack_open(descriptor, path, depth)
        finally:
            os.close(descriptor)

    def _pack_open(self, descriptor: int, path: str, depth: int) -> None:
        there = os.fstat(descriptor)
        if stat.S_ISDIR(there.st_mode):
            self.pack(descriptor, path, depth + 1)
        elif stat.S_ISREG(there.st_mode) and there.st_size <= self.room:
            self.room -= there.st_size
            self._add(_member(path, there), _Content(descriptor))
        else:
            self._leave_out(path)

    def _leave_out(self, path: str) -> None:
        self.left_out_count += 1
        if len(self.left_out) < MAX_SHOWN:  # a job can make millions of long names
            self.left_out.append(path)

    def _add(self, member: tarfile.TarInfo, content: _Content | None = None) -> None:
        self.archive.addfile(member, content)  # type: ignore[arg-type]  # reading is all that is done with it
        self.members += 1


@dataclass(frozen=True)
class _Content:
    """The content of a file that somebody may cut short meanwhile: then zeros follow, since its size is written."""

    descriptor: int

    def read(self, size: int) -> bytes:
        """Read exactly as much."""
        return os.read(self.descriptor, size).ljust(size, b"\0")


def _member(path: str, there: os.stat_result, link: str | None = None) -> tarfile.TarInfo:
    """Return the header of a file, folder or symbolic link: without owner, which means nothing elsewhere."""
    member = tarfile.TarInfo(path)
    member.mode = stat.S_IMODE(there.st_mode) & 0o777
    member.mtime = int(there.st_mtime)
    if link is not None:
        member.type, member.linkname = tarfile.SYMTYPE, link
    elif stat.S_ISDIR(there.st_mode):
        member.type = tarfile.DIRTYPE
    else:
        member.size = there.st_size
    return member


def main(folder: str, archive: str, name: str, uid: str, gid: str, limit: str) -> None:
    """Pack the folder; the same folder makes the same archive."""
    there = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    Account("", int(uid), int(gid)).become()
    with (
        os.fdopen(int(archive), "wb") as file,
        gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=6, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.GNU_FORMAT) as tar,
    ):
        packer = Packer(tar, name, int(limit))
        packer.pack(there)
    report = Report(packer.members, packer.left_out, packer.left_out_count)
    print(json.dumps(dataclasses.asdict(report)))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        sys.exit(NO_ROOM)
