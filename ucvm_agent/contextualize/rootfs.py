"""Files beneath a root directory, as if it were `/`: no path and no symbolic link leads outside it.

Paths are absolute and seen from inside the root. A symbolic link is resolved as it would be after chroot(2):
an absolute one starts again at the root, and `..` stops there. Where resolving and using a path would be two
steps, they are one (openat, O_NOFOLLOW), so that nobody can slip a link between them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


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
    `ActionError` (with path, reason and hint) if the system refuses.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def status(self, path: str, *, follow: bool = True) -> Status | None:
        """Return what is at `path`, or None; `follow` looks through a final symbolic link."""
        raise NotImplementedError

    def read(self, path: str, limit: int) -> bytes | None:
        """Return the content of a regular file; None if there is none. More than `limit` bytes are an error."""
        raise NotImplementedError

    def names(self, path: str) -> list[str]:
        """Return the sorted names in a directory; empty if there is none."""
        raise NotImplementedError

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
        raise NotImplementedError

    def make_directory(self, path: str, *, mode: int, uid: int, gid: int) -> None:
        """Make a directory (and its parents, 0755, root) or give an existing one this mode and owner."""
        raise NotImplementedError

    def make_link(self, path: str, to: str) -> None:
        """Make `path` a symbolic link to `to`, atomically; replaces another link, refuses anything else."""
        raise NotImplementedError

    def remove(self, path: str) -> None:
        """Remove a file or link, if it is there."""
        raise NotImplementedError

    def real(self, path: str) -> Path:
        """Return the real path of `path` with all links resolved beneath the root; it need not exist."""
        raise NotImplementedError
