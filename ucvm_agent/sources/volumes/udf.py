"""UDF volumes, as far as write-once discs need it: one partition without mapping, files in one piece or in several.

pycdlib reads UDF beside ISO 9660 only, and the provisioning medium of Azure may have no ISO 9660
(references/clouds.md, section 2.5). The structures are those of ECMA-167, 3rd edition, part 3, 10 and part 4, 14.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from ucvm_agent.sources.volumes.medium import Medium
from ucvm_agent.sources.volumes.volume import Volume

_BLOCK_SIZES = (2048, 512, 1024, 4096)
_ANCHOR = 256
"""Number of the block where a volume says where its descriptors are."""

_ANCHOR_TAG, _PARTITION_TAG, _VOLUME_TAG, _END_TAG = 2, 5, 6, 8
_SET_TAG, _NAME_TAG, _ENTRY_TAG, _EXTENDED_ENTRY_TAG = 256, 257, 261, 266
_TAG = 16
_MAX_DESCRIPTORS = 64
_MAX_FOLDER = 4 * 1024 * 1024
_FOLDER, _FILE = 4, 5
_SHORT, _LONG, _EMBEDDED = 0, 1, 3
_DELETED_OR_PARENT = 0x04 | 0x08
_LENGTH = (1 << 30) - 1


@dataclass(frozen=True, slots=True)
class _Entry:
    """A file or folder: its kind, its size, and where its bytes are (or the bytes themselves)."""

    kind: int
    size: int
    allocation: int
    descriptors: bytes


class UdfVolume(Volume):
    """A volume whose folders are read as far as they are asked for."""

    def __init__(self, medium: Medium) -> None:
        super().__init__(medium)
        self._block, anchor = self._find_anchor()
        length, start = struct.unpack_from("<II", anchor, 16)
        self._partition = self._set = -1
        for number in range(start, start + min(length // self._block, _MAX_DESCRIPTORS)):
            descriptor = medium.read_at(number * self._block, self._block)
            tag = _tag(descriptor)
            if tag == _PARTITION_TAG:
                self._partition = struct.unpack_from("<I", descriptor, 188)[0]
            elif tag == _VOLUME_TAG:
                self._check_volume(descriptor)
                self._set = struct.unpack_from("<I", descriptor, 252)[0]
            elif tag == _END_TAG:
                break
        if self._partition < 0 or self._set < 0:
            raise medium.broken("it does not say where its files are")
        file_set = self._read_block(self._set)
        if _tag(file_set) != _SET_TAG:
            raise medium.broken("it has no set of files")
        self._root = struct.unpack_from("<I", file_set, 404)[0]

    def _read(self, names: list[str]) -> bytes | None:
        entry = self._entry(self._root)
        for name in names:
            if entry.kind != _FOLDER:
                return None
            block = self._names(entry).get(name)
            if block is None:
                return None
            entry = self._entry(block)
        if entry.kind != _FILE:
            return None
        self.check_size(names[-1], entry.size)
        return self._content(entry)

    def _find_anchor(self) -> tuple[int, bytes]:
        for size in _BLOCK_SIZES:
            for number in (_ANCHOR, self.medium.size // size - 1, self.medium.size // size - 1 - _ANCHOR):
                if 0 < number < self.medium.size // size:
                    block = self.medium.read_at(number * size, size)
                    if _tag(block) == _ANCHOR_TAG and struct.unpack_from("<I", block, 12)[0] == number:
                        return size, block
        raise self.medium.broken("it has no anchor")

    def _check_volume(self, descriptor: bytes) -> None:
        (size,) = struct.unpack_from("<I", descriptor, 212)
        length, maps = struct.unpack_from("<II", descriptor, 264)
        if size != self._block or (length, maps) != (6, 1) or descriptor[440] != 1:
            raise self.medium.broken("its partitions are mapped in a way that is not read")

    def _read_block(self, number: int) -> bytes:
        return self.medium.read_at((self._partition + number) * self._block, self._block)

    def _entry(self, number: int) -> _Entry:
        block = self._read_block(number)
        tag, kind = _tag(block), block[27]
        (flags,) = struct.unpack_from("<H", block, 34)
        (size,) = struct.unpack_from("<Q", block, 56)
        if tag not in (_ENTRY_TAG, _EXTENDED_ENTRY_TAG):
            raise self.medium.broken("a file has no entry")
        start = 176 if tag == _ENTRY_TAG else 216
        attributes, descriptors = struct.unpack_from("<II", block, start - 8)
        start += attributes
        return _Entry(kind, size, flags & 7, block[start : start + descriptors])

    def _content(self, entry: _Entry) -> bytes:
        if entry.allocation == _EMBEDDED:
            return entry.descriptors[: entry.size]
        content = bytearray()
        for length, number in self._extents(entry):
            wanted = min(length, entry.size - len(content))
            content += self.medium.read_at((self._partition + number) * self._block, wanted)
        if len(content) < entry.size:
            raise self.medium.broken("a file is cut off")
        return bytes(content)

    def _extents(self, entry: _Entry) -> Iterator[tuple[int, int]]:
        if entry.allocation not in (_SHORT, _LONG):
            raise self.medium.broken("a file is stored in a way that is not read")
        step = 8 if entry.allocation == _SHORT else 16
        for offset in range(0, len(entry.descriptors) - step + 1, step):
            length, number = struct.unpack_from("<II", entry.descriptors, offset)
            if length >> 30:
                raise self.medium.broken("a file has holes, or is in very many pieces")
            if not length & _LENGTH:
                return
            yield length, number

    def _names(self, folder: _Entry) -> dict[str, int]:
        if folder.size > _MAX_FOLDER:
            raise self.medium.broken(f"a folder has {folder.size} bytes")
        content = self._content(folder)
        names: dict[str, int] = {}
        offset = 0
        while offset + 38 <= len(content) and _tag(content[offset:]) == _NAME_TAG:
            characteristics, length = content[offset + 18], content[offset + 19]
            (block,) = struct.unpack_from("<I", content, offset + 24)
            (use,) = struct.unpack_from("<H", content, offset + 36)
            start = offset + 38 + use
            if not characteristics & _DELETED_OR_PARENT:
                names[_text(content[start : start + length])] = block
            offset += (38 + use + length + 3) // 4 * 4
        return names


def _tag(block: bytes) -> int:
    """Return which kind of descriptor this is, or 0 if its tag is not sound (ECMA-167, part 3, 7.2)."""
    tag = block[:_TAG]
    if len(tag) < _TAG or (sum(tag) - tag[4]) & 0xFF != tag[4]:
        return 0
    return int.from_bytes(tag[:2], "little")


def _text(name: bytes) -> str:
    """Return a name: its first byte says how many bits a character has (OSTA UDF 2.60, 2.1.1)."""
    match name[:1]:
        case b"\x08":
            return name[1:].decode("latin-1")
        case b"\x10":
            return name[1:].decode("utf-16-be", "replace")
        case _:
            return ""
