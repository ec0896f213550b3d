"""Reads tar and zip archives that may be hostile, and unpacks them member by member.

Refused are absolute names and names with `..`; devices, pipes, hard links and sparse files; links that are
absolute or lead out of the archive; members beneath a link; more than `MAX_SIZE` bytes or `MAX_MEMBERS`
members. Set-user-ID, set-group-ID and sticky bits and the right to write for group and others are dropped,
as `tarfile.data_filter` does. Directories that are there already are left as they are.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from posixpath import dirname, join, normpath
from typing import TYPE_CHECKING

from ucvm_agent.errors import ActionError, UnsafePath
from ucvm_agent.files.resolve import split
from ucvm_agent.files.rootfs import Kind

if TYPE_CHECKING:
    from ucvm_agent.contextualize.system import System

MAX_SIZE = 1024**3
"""Bytes of all members together, unpacked."""

MAX_FILE_SIZE = 256 * 1024**2
"""Bytes of one member, since it is held in memory."""

MAX_MEMBERS = 100_000

MAX_HEADER = 1024**2
"""Bytes of a tar header that holds a long name or extended attributes."""

_ATTRIBUTES = {
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
}
"""Tar headers that say something about the next one, and are read as a whole."""

_BROKEN = (
    tarfile.TarError,
    zipfile.BadZipFile,
    lzma.LZMAError,
    zlib.error,
    EOFError,
    OSError,
    ValueError,
    NotImplementedError,  # a compression method that zipfile does not know
    RuntimeError,  # an encrypted member of a zip archive
)

_NO_HEADER = (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError)  # type: ignore[attr-defined]  # not in typeshed
"""What tarfile takes for the end of the archive behind the first member."""


@dataclass(frozen=True, slots=True)
class Member:
    """A file, directory or symbolic link of an archive; `path` is relative, without `.` and `..`."""

    path: str
    kind: Kind
    mode: int = 0
    content: bytes = field(default=b"", repr=False)
    link: str = ""


def read_members(name: str, archive: bytes) -> Iterator[Member]:
    """Yield the members in their order, each as soon as it is read.

    Arguments:
        name: of the archive, for people.

    Raises:
        ActionError: the archive is broken, too large, or has a member that is refused.
    """
    size = count = 0
    try:
        for member in _read_zip(archive) if archive[:2] == b"PK" else _read_tar(archive):
            count += 1
            size += len(member.content)
            if size > MAX_SIZE or count > MAX_MEMBERS:
                raise _refusal(f"more than {MAX_SIZE} bytes or {MAX_MEMBERS} members")
            if member.path:  # not the directory itself
                yield member
    except ActionError as error:
        error.where = error.where or name
        raise
    except _BROKEN as error:
        raise ActionError(f"the archive is broken: {error}", where=name, hint="pack it as tar or zip") from error


def check_members(name: str, archive: bytes) -> int:
    """Read the whole archive, and return how many members it has.

    Raises:
        ActionError: as `read_members`, and for members that contradict each other.
    """
    kinds: dict[str, Kind] = {}
    for member in read_members(name, archive):
        if kinds.setdefault(member.path, member.kind) is not member.kind:
            raise ActionError(f"the archive has {member.path} twice, as different kinds", where=name)
    for path in kinds:
        above = dirname(path)
        while above:
            if kinds.get(above, Kind.DIRECTORY) is not Kind.DIRECTORY:
                raise ActionError(f"the member {path} is beneath the {kinds[above]} {above}", where=name)
            above = dirname(above)
    return len(kinds)


def member_difference(system: System, folder: str, member: Member) -> str:
    """Return a line about how what is in `folder` differs from the member; empty if it does not."""
    path = join(folder, member.path)
    there = system.status(path, follow=member.kind is Kind.DIRECTORY)
    if there is None:
        return f"+{member.kind} {member.path}"
    if member.kind is Kind.DIRECTORY and there.kind is Kind.DIRECTORY:
        return ""
    if there.kind is not member.kind:
        return f"-{there.kind} {member.path}\n+{member.kind} {member.path}"
    if member.kind is Kind.LINK:
        return f"-link {member.path} to {there.link}\n+link {member.path} to {member.link}" * (
            there.link != member.link
        )
    if (there.mode, there.uid, there.gid) != (member.mode, 0, 0):
        old, new = f"mode {there.mode:04o}, owner {there.uid}:{there.gid}", f"mode {member.mode:04o}, owner root:root"
        return f"-{member.path}: {old}\n+{member.path}: {new}"
    if there.size != len(member.content) or system.read(path, there.size) != member.content:
        return f"-{member.path}: {there.size} bytes\n+{member.path}: {len(member.content)} bytes"
    return ""


def unpack_next(system: System, folder: str, members: Iterator[Member]) -> bool:
    """Unpack the next of the members into `folder` unless it is there; return whether there was one.

    A link in the place of a file is replaced, not followed, and the other way round.
    """
    member = next(members, None)
    if member is None:
        return False
    if member_difference(system, folder, member):
        path, files = join(folder, member.path), system.files
        there = files.status(path, follow=False)
        if there is not None and there.kind is not member.kind and there.kind in {Kind.FILE, Kind.LINK}:
            files.remove(path)
        match member.kind:
            case Kind.DIRECTORY:
                files.make_directory(path, mode=member.mode, uid=0, gid=0)
            case Kind.LINK:
                files.make_link(path, member.link)
            case _:
                files.write(path, member.content, mode=member.mode, uid=0, gid=0)
    return True


class _Header(tarfile.TarInfo):
    """A header that is refused where tarfile would end silently or take any amount of memory."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> _Header:
        """See `tarfile.TarInfo.fromtarfile`."""
        try:
            return super().fromtarfile(archive)
        except _NO_HEADER as error:
            raise ActionError(f"the archive is broken: {error}", hint="pack it as tar or zip") from error

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        """Look at each header before what it announces is read: tarfile's place for subclasses to do so."""
        if self.type == tarfile.GNUTYPE_SPARSE or (self.type in _ATTRIBUTES and self.size > MAX_HEADER):
            raise _refusal(f"{self.name}, a sparse file or a header of {self.size} bytes")
        return super()._proc_member(archive)  # type: ignore[misc, no-any-return]  # not in typeshed


def _read_tar(archive: bytes) -> Iterator[Member]:
    with _unpacked(archive) as stream, tarfile.open(fileobj=stream, mode="r|", tarinfo=_Header) as tar:
        for header in tar:
            if header.issym():
                yield _link(header.name, header.linkname)
            elif header.isdir():
                yield _directory(header.name, header.mode)
            elif header.isreg() and not header.issparse():
                content = tar.extractfile(header) if _fits(header.name, header.size) else None
                yield _file(header.name, header.mode, content.read() if content else b"")
            else:
                raise _refusal(f"{header.name}, a device, pipe, hard link or sparse file")
        if len(stream.read(MAX_HEADER)) == MAX_HEADER:  # reading to the end makes the checksum count
            raise _refusal("much behind its end")


def _unpacked(archive: bytes) -> gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile | io.BytesIO:
    packed = io.BytesIO(archive)
    if archive.startswith(b"\x1f\x8b"):
        return gzip.open(packed)
    if archive.startswith(b"BZh"):
        return bz2.open(packed)
    if archive.startswith(b"\xfd7zXZ\0"):
        return lzma.open(packed)
    return packed


def _read_zip(archive: bytes) -> Iterator[Member]:
    with zipfile.ZipFile(io.BytesIO(archive)) as package:
        for entry in package.infolist():
            mode = entry.external_attr >> 16  # 0 if it was packed on a system without modes
            content = b""
            if _fits(entry.filename, entry.file_size):
                content = package.read(entry)
            if entry.is_dir():
                yield _directory(entry.filename, stat.S_IMODE(mode) or 0o755)
            elif stat.S_ISLNK(mode):
                yield _link(entry.filename, content.decode(errors="surrogateescape"))
            elif stat.S_IFMT(mode) in {0, stat.S_IFREG}:
                yield _file(entry.filename, stat.S_IMODE(mode) or 0o644, content)
            else:
                raise _refusal(f"{entry.filename}, a device or pipe")


def _fits(path: str, size: int) -> bool:
    if size > MAX_FILE_SIZE:
        raise _refusal(f"{path}, a file of {size} bytes")
    return size > 0


def _file(path: str, mode: int, content: bytes) -> Member:
    return Member(_relative(path), Kind.FILE, mode & 0o755 | 0o600, content)


def _directory(path: str, mode: int) -> Member:
    return Member(_relative(path), Kind.DIRECTORY, mode & 0o755 | 0o700)


def _link(path: str, to: str) -> Member:
    """Return a link that goes up only at its beginning, where `check_members` sees that it passes no other link."""
    inside = _relative(path)
    steps = to.rstrip("/").split("/")
    upwards = [number for number, step in enumerate(steps) if step == ".."]
    lexical = normpath(join(dirname(inside), to))
    if (
        not to
        or "\0" in to
        or to.startswith("/")
        or lexical.split("/")[0] == ".."
        or upwards != list(range(len(upwards)))
    ):
        raise _refusal(f"{path}, a link to {to}")
    return Member(inside, Kind.LINK, link=to)


def _relative(path: str) -> str:
    if path.startswith("/"):
        raise _refusal(f"{path}, an absolute name")
    try:
        return "/".join(split("/" + path))
    except UnsafePath as error:
        raise _refusal(f"{path!a}: {error.message}") from error


def _refusal(what: str) -> ActionError:
    return ActionError(f"the archive holds {what}", hint="that is not unpacked")
