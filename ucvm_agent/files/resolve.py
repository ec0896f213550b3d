"""Resolving paths beneath a root directory, step by step on open directories.

The kernel resolves a path in one go and follows links wherever they lead. Here each step is opened by itself,
relative to the directory before it and without following it, so that a link which somebody slips in
meanwhile is seen as a link. Going up (`..`) returns to the directory that the walk came through, which is inside
the root even if it has been moved since.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from errno import ELOOP, ENAMETOOLONG, ENOTDIR
from pathlib import Path
from posixpath import normpath

from ucvm_agent.errors import UnsafePath

MAX_LINKS = 40
"""Symbolic links in one path, as in the kernel (path_resolution(7))."""

MAX_DEPTH = 128
"""Nested directories; each costs an open descriptor during the walk."""

_ENTRY = os.O_PATH | os.O_NOFOLLOW


def split(path: str) -> tuple[str, ...]:
    """Return the steps of an absolute path; a trailing slash and `.` mean nothing.

    Raises:
        UnsafePath: the path is not absolute, has a `..`, or cannot be a file name.
    """
    if not path.startswith("/"):
        raise UnsafePath("the path is not absolute", where=path, hint="begin it with /")
    if "\0" in path or not _encodable(path):
        raise UnsafePath("the path holds a character that no file name may have", where=ascii(path))
    steps = tuple(step for step in path.split("/") if step not in {"", "."})
    if ".." in steps:
        raise UnsafePath("the path goes upwards", where=path, hint="write it without ..")
    return steps


def _encodable(path: str) -> bool:
    try:
        return bool(os.fsencode(path))
    except UnicodeEncodeError:
        return False


@dataclass(frozen=True, slots=True)
class Place:
    """Where a path leads.

    Arguments:
        folder: the open directory (O_PATH) that holds the last step; open as long as the `Walk`.
        name: the last step in it; `.` if the path leads to `folder` itself.
        entry: what is there, or None.
        way: the path from the root, without links as far as it exists.
    """

    folder: int
    name: str
    entry: os.stat_result | None
    way: str


class Walk:
    """A walk through the directories beneath `root`; `close` it to close them."""

    def __init__(self, root: Path) -> None:
        self._folders = [os.open(root, os.O_PATH | os.O_DIRECTORY)]
        self._way: list[str] = []
        self._trusted = {0, os.geteuid(), os.fstat(self._folders[0]).st_uid}

    def close(self) -> None:
        """Close the directories that are open."""
        while self._folders:
            os.close(self._folders.pop())

    def to(self, steps: Sequence[str], *, follow: bool, make: bool, wary: bool = False) -> Place:
        """Walk from the root.

        Arguments:
            steps: names on the way, as `split` returns them.
            follow: look through a symbolic link at the end.
            make: make directories that are missing on the way (not the last step): 0755, fsynced.
            wary: follow no link of a user, since something is going to be changed: it may lead to what that user could
                never change, and the kernel, which refuses such links in /tmp (fs.protected_symlinks, proc(5)), is not
                asked here.

        Raises:
            UnsafePath: if `wary`, a link on the way belongs neither to root, nor to us, nor to the owner of the root.
            OSError: as the kernel would, except that with `make` false a missing or unfit directory on the
                way is no error: then there is nothing (`Place.entry`) at the end.
        """
        rest = list(reversed(steps))
        links = 0
        while rest:
            step = rest.pop()
            if step == "..":
                self._up()
            if step in {"", ".", ".."}:
                continue
            entry, link = self._enter(step, last=not rest)
            if entry is not None and link is not None and (rest or follow):
                if wary:
                    self._check(step, entry)
                links += 1
                if links > MAX_LINKS:
                    raise OSError(ELOOP, os.strerror(ELOOP))
                if link.startswith("/"):
                    self._up(len(self._way))
                rest += reversed(link.split("/"))
            elif not rest:
                return self._place(step, entry)
            elif entry is None and make:
                make_folder(self._folders[-1], step)
                rest.append(step)
            elif entry is None or not stat.S_ISDIR(entry.st_mode):
                if make:
                    raise OSError(ENOTDIR, os.strerror(ENOTDIR))
                return self._place(step, None, rest)
        return self._place(".", os.fstat(self._folders[-1]))

    def _check(self, step: str, link: os.stat_result) -> None:
        if link.st_uid not in self._trusted:
            message = f"a symbolic link of user {link.st_uid} is in the way"
            raise UnsafePath(message, where=self._place(step, link).way, hint="remove it, or make it root's")

    def _place(self, step: str, entry: os.stat_result | None, rest: Sequence[str] = ()) -> Place:
        way = normpath("/" + "/".join([*self._way, step, *reversed(rest)]))
        return Place(self._folders[-1], step, entry, way)

    def _enter(self, step: str, *, last: bool) -> tuple[os.stat_result | None, str | None]:
        """Return what `step` is and, of a link, where it points; go into it if it is a directory on the way."""
        try:
            descriptor = os.open(step, _ENTRY, dir_fd=self._folders[-1])
        except FileNotFoundError:
            return None, None
        try:
            entry = os.fstat(descriptor)
            if stat.S_ISLNK(entry.st_mode):
                return entry, os.readlink("", dir_fd=descriptor)
            if stat.S_ISDIR(entry.st_mode) and not last:
                if len(self._folders) >= MAX_DEPTH:
                    raise OSError(ENAMETOOLONG, "Too many nested directories")
                self._folders.append(descriptor)
                self._way.append(step)
                descriptor = -1
            return entry, None
        finally:
            if descriptor >= 0:
                os.close(descriptor)

    def _up(self, levels: int = 1) -> None:
        for _ in range(min(levels, len(self._way))):
            os.close(self._folders.pop())
            self._way.pop()


def make_folder(folder: int, name: str, mode: int = 0o755) -> None:
    """Make the directory `name` in the open directory `folder` durably; one that is there is left as it is."""
    try:
        os.mkdir(name, mode, dir_fd=folder)
    except FileExistsError:
        return
    descriptor = open_folder(folder, name)
    try:
        os.fchmod(descriptor, mode)  # whatever the umask is
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    sync_folder(folder)


def open_folder(folder: int, name: str) -> int:
    """Return a descriptor by which the directory `name` in `folder` can be read and synced; never of a link."""
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)


def sync_folder(folder: int) -> None:
    """Make the names in an open directory durable; an O_PATH descriptor cannot do that itself."""
    descriptor = open_folder(folder, ".")
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
