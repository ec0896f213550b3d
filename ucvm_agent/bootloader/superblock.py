"""What the superblock of an ext2, ext3 or ext4 file system tells of its life, which blkid does not.

The fields are where the kernel's documentation has them (filesystems/ext4, The Super Block); all are little-endian.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from ucvm_agent.errors import BootError

_PLACE, _SIZE = 1024, 1024
_MAGIC = 0xEF53
_MOUNT_TIME, _MOUNT_COUNT, _MAGIC_PLACE, _MADE = 0x2C, 0x34, 0x38, 0x108


@dataclass(frozen=True, slots=True)
class Superblock:
    """A part of it.

    Arguments:
        made: when, in seconds of the clock of the machine that has made it.
        was_mounted: at least once.
    """

    made: int
    was_mounted: bool

    @classmethod
    def read(cls, device: str) -> Self | None:
        """Read it; None = there is none.

        Raises:
            BootError: the device cannot be read.
        """
        try:
            with Path(device).open("rb") as file:
                file.seek(_PLACE)
                content = file.read(_SIZE)
        except OSError as error:
            raise BootError(f"cannot be read: {error.strerror}", where=device) from None
        if len(content) < _SIZE or struct.unpack_from("<H", content, _MAGIC_PLACE)[0] != _MAGIC:
            return None
        mounted = (
            struct.unpack_from("<I", content, _MOUNT_TIME)[0] or struct.unpack_from("<H", content, _MOUNT_COUNT)[0]
        )
        return cls(struct.unpack_from("<I", content, _MADE)[0], bool(mounted))
