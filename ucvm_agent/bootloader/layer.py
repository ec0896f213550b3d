"""The read-only layer of the root file system: a snapshot of CernVM-FS, or an image or folder in its place.

    cvmfs:REPOSITORY            through the client, where the initial RAM disk has it
    squashfs:PLACE, erofs:PLACE an image
    dir:PLACE                   a folder, or a file system of whatever kind

PLACE is a device (`/dev/vdb`) or something beneath a file system that is known by its label (`LABEL=NAME/a/path`).
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Self

from ucvm_agent.bootloader.cvmfs import mount_repository
from ucvm_agent.bootloader.mounting import bind, mount, run
from ucvm_agent.bootloader.wishes import Wishes
from ucvm_agent.errors import BootError

_LABEL = "LABEL="
_PAUSE = 0.1
"""Seconds between two looks at the devices; the kernel tells of a disk when it has found it, not before."""


class Kind(StrEnum):
    """What the layer is."""

    CVMFS = "cvmfs"
    SQUASHFS = "squashfs"
    EROFS = "erofs"
    DIR = "dir"


@dataclass(frozen=True, slots=True)
class Layer:
    """Where the layer comes from.

    Arguments:
        place: a repository, a device, or `LABEL=NAME/PATH`.
    """

    kind: Kind
    place: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read it as the setting `boot.layer` has it.

        Raises:
            BootError: it is none.
        """
        word, _, place = text.partition(":")
        if word not in list(Kind) or not place:
            raise BootError(f"{text!r} is no layer", where="boot.layer", hint=f"one of {', '.join(Kind)}, `:`, a place")
        return cls(Kind(word), place)

    @property
    def device(self) -> str:
        """The device that it is on, if it is named, without the links of udev."""
        return os.path.realpath(self.place) if self.place.startswith("/dev/") else ""

    def attach(self, wishes: Wishes, target: Path, scratch: Path, medium: Path, seconds: float) -> None:
        """Mount it.

        Arguments:
            target: where.
            scratch: the scratch file system, for the cache of CernVM-FS.
            medium: where the file system with the label goes that the layer is on.
            seconds: that a device may take to appear.

        Raises:
            BootError: it cannot be mounted.
        """
        if self.kind is Kind.CVMFS:
            mount_repository(wishes.repository or self.place, wishes, target, scratch)
            return
        source = self._source(medium, time.monotonic() + seconds)
        if self.kind is not Kind.DIR:
            mount(source, target, self.kind, "ro")
        elif source.is_block_device():
            mount(source, target, "auto", "ro")
        else:
            bind(source, target)

    def _source(self, medium: Path, deadline: float) -> Path:
        if not self.place.startswith(_LABEL):
            return _awaited(Path(self.place), deadline)
        label, _, path = self.place.removeprefix(_LABEL).partition("/")
        device = _awaited(Path("/dev/disk/by-label") / label, deadline)
        if not path:
            return device
        mount(device, medium, "auto", "ro")
        return folder_below(medium, path) if self.kind is Kind.DIR else below(medium, path)


def below(folder: Path, path: str) -> Path:
    """Return what is at the path beneath the folder.

    Raises:
        BootError: there is nothing, or the path or a link leads out of the folder.
    """
    found = Path(os.path.realpath(folder / PurePosixPath(path.lstrip("/"))))
    if not found.is_relative_to(os.path.realpath(folder)):
        raise BootError("this leads out of the layer", where=path)
    if not found.exists():
        raise BootError("the layer has no such path", where=path)
    return found


def folder_below(folder: Path, path: str) -> Path:
    """Return the folder that is at the path beneath another one.

    Raises:
        BootError: there is none, or the path or a link leads out.
    """
    found = below(folder, path)
    if not found.is_dir():
        raise BootError("this is no folder", where=path)
    return found


def _awaited(path: Path, deadline: float) -> Path:
    while not path.exists():
        if time.monotonic() > deadline:
            raise BootError("this device has not appeared", where=str(path))
        time.sleep(_PAUSE)
        with suppress(BootError):  # it only spares a look too many; an image may do without udev
            run("udevadm", "settle", "--timeout=1", fine=(0, 1))
    return path
