"""Files beneath a root directory, as if it were `/`: no path and no symbolic link leads outside it.

Paths are absolute and seen from inside the root. A symbolic link is resolved as it would be after chroot(2):
an absolute one starts again at the root, and `..` stops there. Where resolving and using a path would be two
steps, they are one (openat, O_NOFOLLOW), so that nobody can slip a link between them.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from pathlib import Path

from ucvm_agent.errors import ActionError
from ucvm_agent.files.resolve import Place, Walk, make_folder, open_folder, split, sync_folder

_HINTS = {
    errno.EPERM: "run as root",
    errno.EACCES: "run as root",
    errno.EROFS: "choose a path on a writable file system",
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.ELOOP: "look for a symbolic link that leads back to itself",
    errno.ENOENT: "look whether the root directory is there",
    errno.ENOTDIR: "a step of the path is no directory: move it away",
}

_TURNS = tuple(threading.Lock() for _ in range(64))
"""Two threads that replace the same file share its temporary name, and so take turns by one of these locks."""


class Kind(StrEnum):
    """What a directory entry is."""

    FILE = "file"
    DIRECTORY = "directory"
    LINK = "link"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Status:
    """What is at a path; `link` is where a symbolic link points, as written."""

    kind: Kind
    mode: int
    uid: int
    gid: int
    size: int
    link: str = ""


class RootFS:
    """The file operations of actions, all beneath `root`.

    Every method raises `UnsafePath` for a path that is not absolute, holds a NUL, or has `..` as a step, and
    `ActionError` (with path, reason and hint) if the system refuses. Those that change something raise `UnsafePath` for
    a way through a symbolic link of a user, too.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    def status(self, path: str, *, follow: bool = True) -> Status | None:
        """Return what is at `path`, or None; `follow` looks through a final symbolic link."""
        with self._place(path, follow=follow) as place:
            if place.entry is None:
                return None
            try:
                return _status(place.entry, place)
            except FileNotFoundError:  # gone since the walk
                return None

    def read(self, path: str, limit: int) -> bytes | None:
        """Return the content of a regular file; None if there is none. More than `limit` bytes are an error."""
        with self._place(path) as place:
            if place.entry is None or not stat.S_ISREG(place.entry.st_mode):
                return None
            try:
                descriptor = os.open(place.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=place.folder)
            except FileNotFoundError:  # gone since the walk
                return None
            with os.fdopen(descriptor, "rb") as file:
                content = file.read(limit + 1)
        if len(content) > limit:
            raise ActionError(f"the file is larger than {limit} bytes", where=path)
        return content

    def names(self, path: str) -> list[str]:
        """Return the sorted names in a directory; empty if there is none."""
        with self._place(path) as place:
            if place.entry is None or not stat.S_ISDIR(place.entry.st_mode):
                return []
            with _opened(open_folder(place.folder, place.name)) as descriptor, os.scandir(descriptor) as entries:
                return sorted(entry.name for entry in entries)

    def write(
        self,
        path: str,
        content: bytes,
        *,
        mode: int,
        uid: int,
        gid: int,
        check: Callable[[Path], None] | None = None,
    ) -> None:
        """Replace a regular file as a whole: temporary file beside it, fsync, `check`, rename, fsync of the folder.

        Mode and owner are set before the rename, so a secret is never readable for others. Missing parents
        are made (0755, root). A final symbolic link is followed and stays; what is neither file nor
        nothing is refused. `check` gets the real path of the temporary file and raises to refuse it.
        """
        with self._place(path, make=True, wary=True) as place:
            if place.entry is not None and not stat.S_ISREG(place.entry.st_mode):
                raise ActionError("is there, and is no regular file", where=path, hint="move it away")
            with _temporary(place) as name:
                descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=place.folder)
                with os.fdopen(descriptor, "wb") as file:
                    file.write(content)
                    file.flush()
                    _hand_over(descriptor, mode, uid, gid, path)
                    os.fsync(descriptor)
                if check is not None:
                    check(self._beneath(place.way).with_name(name))
                os.rename(name, place.name, src_dir_fd=place.folder, dst_dir_fd=place.folder)
                sync_folder(place.folder)

    def make_directory(self, path: str, *, mode: int, uid: int, gid: int) -> None:
        """Make a directory (and its parents, 0755, root) or give an existing one this mode and owner."""
        with self._place(path, make=True, wary=True) as place:
            if place.entry is None:
                make_folder(place.folder, place.name, mode & 0o777)
            elif not stat.S_ISDIR(place.entry.st_mode):
                raise ActionError("is there, and is no directory", where=path, hint="move it away")
            with _opened(open_folder(place.folder, place.name)) as descriptor:
                _hand_over(descriptor, mode, uid, gid, path)
                os.fsync(descriptor)

    def make_link(self, path: str, to: str, *, replace_file: bool = False) -> None:
        """Make `path` a symbolic link to `to`, atomically; replaces another link, and a file if asked."""
        with self._place(path, follow=False, make=True, wary=True) as place:
            if place.entry is not None:
                there = _status(place.entry, place)
                if there.kind is not Kind.LINK and not (replace_file and there.kind is Kind.FILE):
                    raise ActionError(f"is there, and is a {there.kind}", where=path, hint="move it away")
                if there.kind is Kind.LINK and there.link == to:
                    return
            with _temporary(place) as name:
                os.symlink(to, name, dir_fd=place.folder)
                os.rename(name, place.name, src_dir_fd=place.folder, dst_dir_fd=place.folder)
                sync_folder(place.folder)

    def remove(self, path: str) -> None:
        """Remove a file or link, if it is there."""
        with self._place(path, follow=False, wary=True) as place:
            if place.entry is not None:
                with suppress(FileNotFoundError):
                    os.unlink(place.name, dir_fd=place.folder)
                sync_folder(place.folder)

    def real(self, path: str) -> Path:
        """Return the real path of `path` with all links resolved beneath the root; it need not exist."""
        with self._place(path) as place:
            return self._beneath(place.way)

    def _beneath(self, way: str) -> Path:
        return self.root / way.lstrip("/")

    @contextmanager
    def _place(self, path: str, *, follow: bool = True, make: bool = False, wary: bool = False) -> Iterator[Place]:
        steps = split(path)
        try:
            with closing(Walk(self.root)) as walk:
                yield walk.to(steps, follow=follow, make=make, wary=wary)
        except OSError as error:
            message = error.strerror or str(error)
            raise ActionError(message, where=path, hint=_HINTS.get(error.errno or 0, "")) from error


def _status(entry: os.stat_result, place: Place) -> Status:
    kind = {stat.S_IFREG: Kind.FILE, stat.S_IFDIR: Kind.DIRECTORY, stat.S_IFLNK: Kind.LINK}.get(
        stat.S_IFMT(entry.st_mode), Kind.OTHER
    )
    link = os.readlink(place.name, dir_fd=place.folder) if kind is Kind.LINK else ""
    return Status(kind, stat.S_IMODE(entry.st_mode), entry.st_uid, entry.st_gid, entry.st_size, link)


@contextmanager
def _opened(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _temporary(place: Place) -> Iterator[str]:
    """Yield a name beside `place` that is free now, and free it again if what it was used for fails.

    It depends on the place only, so that what a crash leaves is removed by the next attempt.
    """
    folder = os.fstat(place.folder)
    name = ".ucvm-" + sha256(os.fsencode(place.name)).hexdigest()[:16]
    with _TURNS[hash((folder.st_dev, folder.st_ino, name)) % len(_TURNS)]:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=place.folder)
        try:
            yield name
        except BaseException:
            with suppress(OSError):
                os.unlink(name, dir_fd=place.folder)
            raise


def _hand_over(descriptor: int, mode: int, uid: int, gid: int, path: str) -> None:
    """Set owner and mode of an open file, owner first: chown(2) takes the set-user-ID bit away."""
    there = os.fstat(descriptor)
    if (there.st_uid, there.st_gid) != (uid, gid):
        try:
            os.fchown(descriptor, uid, gid)
        except PermissionError as error:
            message = f"cannot be given to uid {uid}, gid {gid}"
            raise ActionError(message, where=path, hint=_HINTS[errno.EPERM]) from error
    os.fchmod(descriptor, mode)
