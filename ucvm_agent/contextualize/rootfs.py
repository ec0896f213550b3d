"""Files beneath a root directory, as if it were `/`: no path and no symbolic link leads outside it."""

from __future__ import annotations

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
    """What is at a path."""

    kind: Kind
    mode: int
    uid: int
    gid: int
    size: int
    link: str = ""


class RootFS:
    """The file operations of actions, all beneath `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
