"""A volume whose files can be read, whichever file system it has."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

from ucvm_agent.errors import SourceAbsent, SourceRefused, UcvmError
from ucvm_agent.sources.base import MAX_BODY
from ucvm_agent.sources.volumes.medium import Medium, open_medium
from ucvm_agent.sources.volumes.superblock import FileSystem, read_superblock

MAX_DEPTH = 32
"""Most folders above a file."""


class Volume(ABC):
    """The files of one volume.

    Arguments:
        medium: that it is on.
    """

    def __init__(self, medium: Medium) -> None:
        self.medium = medium

    def read(self, path: str) -> bytes | None:
        """Return the content of a file, or None if there is none of this path; links are not followed.

        Arguments:
            path: the names of its folders and its own, with `/` between them; case matters where the file system
                keeps it.

        Raises:
            SourceRefused: it is too large or too deep, or the volume is damaged. SourceUnavailable: it cannot be
                read in time.
        """
        names = [name for name in path.split("/") if name]
        if not names or len(names) > MAX_DEPTH:
            raise SourceRefused(f"{path!r} cannot be the path of a file", where=self.medium.where)
        try:
            return self._read(names)
        except (UcvmError, OSError):
            raise
        except Exception as error:  # what a library, or struct, makes of a damaged volume can be anything
            raise self.medium.broken(type(error).__name__) from None

    def check_size(self, name: str, size: int) -> None:
        """Raise `SourceRefused` for a file that is too large to be read."""
        if size > MAX_BODY:
            message = f"{name} has {size} bytes, more than the {MAX_BODY} that are read"
            raise SourceRefused(message, where=self.medium.where)

    @abstractmethod
    def _read(self, names: list[str]) -> bytes | None:
        """Do what `read` says; may raise anything if the volume is damaged."""


@contextmanager
def open_volume(path: str, stop: threading.Event) -> Iterator[Volume]:
    """Open the volume of an image or a device; blocks as long as `medium.SECONDS`.

    Arguments:
        stop: ends reading early.

    Raises:
        SourceAbsent: it has none of the file systems that are read here. Otherwise as `open_medium`.
    """
    with open_medium(path, stop) as medium:
        superblock = read_superblock(medium)
        if superblock is None:
            raise SourceAbsent("there is no ISO 9660, UDF, FAT or ext4 file system on it", where=path)
        try:
            volume = _kind(superblock.file_system)(medium)
        except (UcvmError, OSError):
            raise
        except Exception as error:  # as above
            raise medium.broken(type(error).__name__) from None
        yield volume


def _kind(file_system: FileSystem) -> type[Volume]:
    match file_system:
        case FileSystem.ISO9660:
            from ucvm_agent.sources.volumes.iso import IsoVolume

            return IsoVolume
        case FileSystem.UDF:
            from ucvm_agent.sources.volumes.udf import UdfVolume

            return UdfVolume
        case FileSystem.FAT:
            from ucvm_agent.sources.volumes.fat import FatVolume

            return FatVolume
        case FileSystem.EXT:
            from ucvm_agent.sources.volumes.ext import ExtVolume

            return ExtVolume
