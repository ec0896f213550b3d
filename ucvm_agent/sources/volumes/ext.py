"""ext2, ext3 and ext4 volumes, as they are on the disk: what waits in the journal of one that is mounted is not seen.

The kernel and e2fsprogs want root or a program of their own, and the library for it pins the exact release of other
libraries; to look for a few files this is enough, and bounded like the others. The structures are those of the
kernel's Documentation/filesystems/ext4.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from ucvm_agent.sources.base import MAX_BODY
from ucvm_agent.sources.volumes.medium import Medium
from ucvm_agent.sources.volumes.superblock import EXT_SUPERBLOCK
from ucvm_agent.sources.volumes.volume import Volume

_ROOT = 2
"""Number of the root folder's inode."""
_FOLDER, _FILE = 0x4000, 0x8000
_EXTENTS, _INLINE, _ENCRYPTED = 0x80000, 0x10000000, 0x800
_META_GROUPS, _64_BIT = 0x10, 0x80
_EXTENT_MAGIC = 0xF30A
_MAX_DEPTH = 5
"""Most levels of a tree of extents."""
_UNWRITTEN = 0x8000
_DIRECT = 12
"""Blocks that an inode of ext2 names itself; the next three name blocks of numbers, in one, two and three levels."""
_MAX_FOLDER = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Inode:
    """A file or folder: its mode, its flags, its size, and the 60 bytes that tell where its content is."""

    mode: int
    flags: int
    size: int
    blocks: bytes

    @property
    def kind(self) -> int:
        return self.mode & 0xF000


class ExtVolume(Volume):
    """A volume whose folders are read as far as they are asked for."""

    def __init__(self, medium: Medium) -> None:
        super().__init__(medium)
        block = medium.read_at(EXT_SUPERBLOCK, 1024)
        first, shift = struct.unpack_from("<II", block, 20)
        self._inodes, self._per_group = struct.unpack_from("<I", block, 0)[0], struct.unpack_from("<I", block, 40)[0]
        (revision,) = struct.unpack_from("<I", block, 76)
        (self._inode_size,) = struct.unpack_from("<H", block, 88) if revision else (128,)
        (features,) = struct.unpack_from("<I", block, 96) if revision else (0,)
        if shift > 6 or not self._per_group or self._inode_size < 128:
            raise medium.broken("its superblock is not sound")
        if features & _META_GROUPS:
            raise medium.broken("its groups are described in a way that is not read")
        self._block = 1024 << shift
        self._groups = (first + 1) * self._block
        self._descriptor = max(32, struct.unpack_from("<H", block, 254)[0]) if features & _64_BIT else 32

    def _read(self, names: list[str]) -> bytes | None:
        inode = self._inode(_ROOT)
        for name in names:
            number = self._find(inode, name.encode()) if inode.kind == _FOLDER else 0
            if not number:
                return None
            inode = self._inode(number)
        if inode.kind != _FILE:
            return None
        self.check_size(names[-1], inode.size)
        return self._content(inode)

    def _inode(self, number: int) -> _Inode:
        if not 0 < number <= self._inodes:
            raise self.medium.broken("a folder names a file that cannot be")
        group, index = divmod(number - 1, self._per_group)
        descriptor = self.medium.read_at(self._groups + group * self._descriptor, self._descriptor)
        table = struct.unpack_from("<I", descriptor, 8)[0]
        if self._descriptor >= 64:
            table |= struct.unpack_from("<I", descriptor, 40)[0] << 32
        raw = self.medium.read_at(table * self._block + index * self._inode_size, 128)
        mode, low, flags, high = (
            struct.unpack_from(form, raw, offset)[0] for form, offset in (("<H", 0), ("<I", 4), ("<I", 32), ("<I", 108))
        )
        size = low | high << 32 if mode & 0xF000 == _FILE else low
        return _Inode(mode, flags, size, raw[40:100])

    def _find(self, folder: _Inode, name: bytes) -> int:
        """Return the number of a name's inode, or 0; the blocks of an index look like one long unused entry."""
        if folder.size > _MAX_FOLDER:
            raise self.medium.broken(f"a folder has {folder.size} bytes")
        content = self._content(folder)
        for start in range(0, len(content), self._block):
            block = content[start : start + self._block]
            offset = 0
            while offset + 8 <= len(block):
                number, step, length = struct.unpack_from("<IHB", block, offset)
                if number and block[offset + 8 : offset + 8 + length] == name:
                    return int(number)
                if step < 8:
                    break
                offset += step
        return 0

    def _content(self, inode: _Inode) -> bytes:
        if inode.flags & (_INLINE | _ENCRYPTED):
            raise self.medium.broken("a file is stored in a way that is not read")
        content = bytearray(min(inode.size, MAX_BODY))
        extents = self._extents(inode.blocks, _MAX_DEPTH) if inode.flags & _EXTENTS else self._mapped(inode)
        for position, block, count in extents:
            start = position * self._block
            wanted = min(count * self._block, len(content) - start)
            if wanted > 0:
                content[start : start + wanted] = self.medium.read_at(block * self._block, wanted)
        return bytes(content)  # what no extent covers is a hole, and reads as zeros

    def _extents(self, node: bytes, depth: int) -> Iterator[tuple[int, int, int]]:
        """Yield where each piece of a file begins in it, where it is on the volume, and how many blocks it has."""
        magic, entries, _, levels = struct.unpack_from("<HHHH", node)
        if magic != _EXTENT_MAGIC or depth == 0 or 12 + entries * 12 > len(node):
            raise self.medium.broken("a tree of extents is not sound")
        for offset in range(12, 12 + entries * 12, 12):
            position, count, high, low = struct.unpack_from("<IHHI", node, offset)
            if levels:
                low, high = struct.unpack_from("<IH", node, offset + 4)
                child = self.medium.read_at((high << 32 | low) * self._block, self._block)
                yield from self._extents(child, depth - 1)
            elif count <= _UNWRITTEN:  # beyond that it is promised, but nothing was written
                yield position, high << 32 | low, count

    def _mapped(self, inode: _Inode) -> Iterator[tuple[int, int, int]]:
        """Yield what `_extents` does of a file of ext2, block by block."""
        numbers = struct.unpack("<15I", inode.blocks)
        end = -(-min(inode.size, MAX_BODY) // self._block)
        position = 0
        for level, number in enumerate((0,) * _DIRECT + (1, 2, 3)):
            if position >= end:
                return
            for block in self._leaves(numbers[level], number):
                if position >= end:
                    return
                if block:
                    yield position, block, 1
                position += 1

    def _leaves(self, number: int, levels: int) -> Iterator[int]:
        """Yield the blocks beneath a block of numbers; 0 stands for a hole."""
        if levels == 0:
            yield number
            return
        per_block = self._block // 4
        if number == 0:
            yield from (0 for _ in range(per_block**levels))
            return
        for child in struct.unpack(f"<{per_block}I", self.medium.read_at(number * self._block, self._block)):
            yield from self._leaves(child, levels - 1)
