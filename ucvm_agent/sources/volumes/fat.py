"""FAT12, FAT16 and FAT32 volumes, with long names.

The libraries that read FAT also write it, take the whole allocation table into memory first, and follow it for
ever if it has a circle; to look for a few files this is enough. The structures are those of Microsoft's "FAT: General
Overview of On-Disk Format", version 1.03.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from ucvm_agent.sources.base import MAX_BODY
from ucvm_agent.sources.volumes.medium import Medium
from ucvm_agent.sources.volumes.volume import Volume

_ENTRY = 32
_END, _DELETED = 0x00, 0xE5
_LABEL, _FOLDER, _LONG = 0x08, 0x10, 0x0F
_LOWER_BASE, _LOWER_EXTENSION = 0x08, 0x10
_MAX_FOLDER = 65536 * _ENTRY
"""Bytes of the largest folder that the format allows."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or folder, as its folder has it."""

    name: str
    short: str
    is_folder: bool
    cluster: int
    size: int


class FatVolume(Volume):
    """A volume that is read cluster by cluster."""

    def __init__(self, medium: Medium) -> None:
        super().__init__(medium)
        boot = medium.read_at(0, 512)
        self._sector, cluster, reserved, tables, roots, sectors = struct.unpack_from("<HBHBHH", boot, 11)
        table, many = struct.unpack_from("<H", boot, 22)[0], struct.unpack_from("<I", boot, 32)[0]
        table = table or struct.unpack_from("<I", boot, 36)[0]
        self._cluster = self._sector * cluster
        self._table = reserved * self._sector
        self._root = (reserved + tables * table) * self._sector
        self._root_size = -(-roots * _ENTRY // self._sector) * self._sector
        self._data = self._root + self._root_size
        self._clusters = ((sectors or many) * self._sector - self._data) // self._cluster
        # Nothing but the number of clusters tells which of the three it is.
        self._bits = 12 if self._clusters < 4085 else 16 if self._clusters < 65525 else 32
        self._root_cluster = struct.unpack_from("<I", boot, 44)[0] if self._bits == 32 else 0

    def _read(self, names: list[str]) -> bytes | None:
        folder = self._root_folder()
        for name in names[:-1]:
            entry = _find(folder, name)
            if entry is None or not entry.is_folder:
                return None
            folder = self._content(entry.cluster, _MAX_FOLDER) if entry.cluster else self._root_folder()
        entry = _find(folder, names[-1])
        if entry is None or entry.is_folder:
            return None
        self.check_size(entry.name, entry.size)
        content = self._content(entry.cluster, entry.size) if entry.size else b""
        if len(content) < entry.size:
            raise self.medium.broken(f"{entry.name} is cut off")
        return content[: entry.size]

    def _root_folder(self) -> bytes:
        if self._root_cluster:
            return self._content(self._root_cluster, _MAX_FOLDER)
        return self.medium.read_at(self._root, self._root_size)

    def _content(self, cluster: int, limit: int) -> bytes:
        """Return what a chain of clusters holds, as far as `limit` bytes are covered; a circle ends by that, too."""
        content = bytearray()
        while 2 <= cluster < self._clusters + 2 and len(content) < min(limit, MAX_BODY):
            content += self.medium.read_at(self._data + (cluster - 2) * self._cluster, self._cluster)
            cluster = self._next(cluster)
        return bytes(content)

    def _next(self, cluster: int) -> int:
        match self._bits:
            case 12:
                pair: int = struct.unpack("<H", self.medium.read_at(self._table + cluster * 3 // 2, 2))[0]
                return pair >> 4 if cluster % 2 else pair & 0xFFF
            case 16:
                return int(struct.unpack("<H", self.medium.read_at(self._table + cluster * 2, 2))[0])
            case _:
                return int(struct.unpack("<I", self.medium.read_at(self._table + cluster * 4, 4))[0]) & 0x0FFFFFFF


def _find(folder: bytes, name: str) -> Entry | None:
    wanted = name.lower()
    return next((entry for entry in _entries(folder) if wanted in (entry.name.lower(), entry.short.lower())), None)


def _entries(folder: bytes) -> Iterator[Entry]:
    long: dict[int, str] = {}
    for offset in range(0, len(folder) - _ENTRY + 1, _ENTRY):
        raw = folder[offset : offset + _ENTRY]
        if raw[0] == _END:
            return
        attributes = raw[11]
        if raw[0] != _DELETED and attributes & 0x3F == _LONG:
            units = raw[1:11] + raw[14:26] + raw[28:32]
            long[raw[0] & 0x3F] = units.decode("utf-16-le", "replace").partition("\0")[0]
            continue
        if raw[0] != _DELETED and not attributes & _LABEL:
            short = _short_name(raw)
            high, low, size = struct.unpack("<H4xHI", raw[20:32])
            name = "".join(long[number] for number in sorted(long)) or short
            yield Entry(name, short, bool(attributes & _FOLDER), high << 16 | low, size)
        long = {}


def _short_name(raw: bytes) -> str:
    base, extension = (raw[:8].decode("cp437").rstrip(), raw[8:11].decode("cp437").rstrip())
    base = base.lower() if raw[12] & _LOWER_BASE else base
    extension = extension.lower() if raw[12] & _LOWER_EXTENSION else extension
    return f"{base}.{extension}" if extension else base
