"""Which file system a volume has, and its label, from its first bytes."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import StrEnum

from ucvm_agent.sources.volumes.medium import Medium

SECTOR = 2048
"""Bytes of a sector of ISO 9660, and of UDF on the discs that it is found on."""

EXT_SUPERBLOCK = 1024
"""Where the superblock of ext2, ext3 and ext4 begins."""

_EXT_MAGIC, _EXT_LABEL = slice(56, 58), slice(120, 136)
_FIRST_DESCRIPTOR = 16
_LAST_DESCRIPTOR = 32
_ISO_LABEL = slice(40, 72)
_DOS_SIGNATURE = b"\x55\xaa"


class FileSystem(StrEnum):
    """The file systems that are read here, by the names that the kernel and udev give them."""

    ISO9660 = "iso9660"
    UDF = "udf"
    FAT = "vfat"
    EXT = "ext4"
    """ext2 and ext3, too: they are read alike."""


@dataclass(frozen=True, slots=True)
class Superblock:
    """What the first bytes say; the label is what is written there, and empty for UDF without ISO 9660."""

    file_system: FileSystem
    label: str


def read_superblock(medium: Medium) -> Superblock | None:
    """Return what is on the medium; None if it is nothing that is read here.

    A disc that is both, ISO 9660 and UDF, counts as UDF, as it does for the kernel and for blkid.
    """
    label, iso = "", False
    for number in range(_FIRST_DESCRIPTOR, _LAST_DESCRIPTOR):
        medium.seek(number * SECTOR)
        descriptor = medium.read(SECTOR)
        match descriptor[1:6]:
            case b"CD001":
                if descriptor[0] == 1 and not iso:
                    label, iso = descriptor[_ISO_LABEL].decode(errors="replace").rstrip(" \0"), True
            case b"NSR02" | b"NSR03":
                return Superblock(FileSystem.UDF, label)
            case b"BEA01" | b"BOOT2" | b"CDW02":
                pass
            case _:
                break
    return Superblock(FileSystem.ISO9660, label) if iso else _fat(medium) or _ext(medium)


def _fat(medium: Medium) -> Superblock | None:
    medium.seek(0)
    sector = medium.read(512)
    if sector[510:512] != _DOS_SIGNATURE or sector[0] not in (0xEB, 0xE9):
        return None
    sector_size, cluster, reserved, tables = struct.unpack_from("<HBHB", sector, 11)
    powers = sector_size in (512, 1024, 2048, 4096) and cluster and not cluster & (cluster - 1)
    if not powers or not reserved or tables not in (1, 2):
        return None
    old = struct.unpack_from("<H", sector, 22)[0] != 0  # FAT12 and FAT16 count a table's sectors here
    label = sector[43:54] if old else sector[71:82]
    text = label.decode("cp437").rstrip(" \0")
    return Superblock(FileSystem.FAT, "" if text == "NO NAME" else text)


def _ext(medium: Medium) -> Superblock | None:
    medium.seek(EXT_SUPERBLOCK)
    block = medium.read(1024)
    if len(block) < 1024 or block[_EXT_MAGIC] != b"\x53\xef":
        return None
    return Superblock(FileSystem.EXT, block[_EXT_LABEL].partition(b"\0")[0].decode(errors="replace"))
