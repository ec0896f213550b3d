"""Files, directories and links."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ucvm_agent.contextualize.actions.attributes import (
    attribute_difference,
    demand_bytes,
    demand_path,
    describe_attributes,
    numbers,
    obstacle,
    obstacle_above,
)
from ucvm_agent.contextualize.actions.base import ALREADY_SO, Change, Effect
from ucvm_agent.contextualize.actions.blocks import put_block
from ucvm_agent.contextualize.actions.difference import HIDDEN, content_difference
from ucvm_agent.contextualize.actions.owned_path import OwnedPath, PathAction
from ucvm_agent.files.rootfs import Kind, Status

if TYPE_CHECKING:
    from ucvm_agent.contextualize.system import System
    from ucvm_agent.contextualize.target import Target

MAX_READ = 16 * 1024 * 1024
"""Bytes of an existing file that are read to compare it or to add to it."""


@dataclass(frozen=True, kw_only=True)
class WriteFile(OwnedPath):
    """Make a regular file have this content, mode and owner, replaced as a whole; parents are made (0755).

    Arguments:
        path: absolute, beneath the root; a symbolic link there is followed (beneath the root) and stays.
        content: the whole content, or what is added at the end if `append`.
        mode: permission bits.
        owner, group: names, looked up in the account files beneath the root when it is applied.
        append: add to what is there (once: content that already ends the file is not added again).
        block: name of a block in the file: whole lines, which replace those that the block holds and leave all
            else as it is (`blocks.py`); without content the block is taken out.
        sensitive: never show the content; always so if neither group nor others may read it.
        check: program and arguments that must accept the new file before it is put in place, where the
            program exists; `{}` stands for the temporary file (`("visudo", "-cf", "{}")`).

    Raises:
        ValueError: the path or the mode is none, the content is text, or the block has a line without end or no
            simple name.
    """

    kind: ClassVar[str] = "file"
    content: bytes = field(repr=False)
    append: bool = False
    block: str = ""
    sensitive: bool = False
    check: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        demand_bytes(self.content)
        if self.block and (not self.block.isidentifier() or self.append or self.content[-1:] not in (b"", b"\n")):
            raise ValueError(f"{self.path}: a block has an identifier as its name, and whole lines")

    def preview(self, system: System) -> Change:
        """See `Action.preview`: a unified diff against the file that is there."""
        there = system.status(self.path)
        if there is None and (above := obstacle_above(system, self.path)):
            return above
        if there is not None and there.kind is not Kind.FILE:
            return obstacle(there)
        if there is not None and there.size > MAX_READ:
            return Change(Effect.UPDATE, f"file of {there.size} bytes changes")
        before = None if there is None else system.read(self.path, MAX_READ)
        after = self._after(before)
        if there is None or before is None:
            size = "" if self._private(there) else f"{len(after)} byte{'s' * (len(after) != 1)}, "
            summary = f"new file, {size}{describe_attributes(self.mode, self.owner, self.group)}"
            return Change(Effect.CREATE, summary, self._difference(there, None, after))
        attributes = attribute_difference(system, there, self.mode, self.owner, self.group)
        if before == after and not attributes:
            return ALREADY_SO
        summary = "content changes" if before != after else "mode or owner changes"
        return Change(Effect.UPDATE, summary, attributes + self._difference(there, before, after))

    async def apply(self, target: Target) -> None:
        """See `Action.apply`."""
        await asyncio.to_thread(self._write, target.system)

    def _write(self, system: System) -> None:
        uid, gid = numbers(system, self.owner, self.group, self.path)
        before = system.files.read(self.path, MAX_READ) if self.append or self.block else None
        check = self._acceptance(system) if self.check else None
        system.files.write(self.path, self._after(before), mode=self.mode, uid=uid, gid=gid, check=check)

    def _acceptance(self, system: System) -> Callable[[Path], None]:
        from ucvm_agent.contextualize.actions.acceptance import accept

        private = self._private(system.status(self.path))
        return partial(accept, system, self.path, self.check, private)

    def _after(self, before: bytes | None) -> bytes:
        if self.block:
            return put_block(before or b"", self.block, self.content)
        if not self.append or before is None:
            return self.content
        return before if before.endswith(self.content) else before + self.content

    def _difference(self, there: Status | None, before: bytes | None, after: bytes) -> str:
        if self._private(there):
            return HIDDEN if before != after else ""
        return content_difference(self.path, before, after)

    def _private(self, there: Status | None) -> bool:
        """Whether the content must not be shown: neither the new one, nor what is there now."""
        return self.sensitive or not self.mode & 0o044 or (there is not None and not there.mode & 0o044)


@dataclass(frozen=True, kw_only=True)
class MakeDirectory(OwnedPath):
    """Make a directory exist with this mode and owner; parents are made (0755, root).

    Raises:
        ValueError: the path or the mode is none.
    """

    kind: ClassVar[str] = "directory"
    mode: int = 0o755

    def preview(self, system: System) -> Change:
        """See `Action.preview`."""
        there = system.status(self.path)
        if there is None:
            summary = f"new directory, {describe_attributes(self.mode, self.owner, self.group)}"
            return obstacle_above(system, self.path) or Change(Effect.CREATE, summary)
        if there.kind is not Kind.DIRECTORY:
            return obstacle(there)
        attributes = attribute_difference(system, there, self.mode, self.owner, self.group)
        return Change(Effect.UPDATE, "mode or owner changes", attributes) if attributes else ALREADY_SO

    async def apply(self, target: Target) -> None:
        """See `Action.apply`."""
        await asyncio.to_thread(self._make, target.system)

    def _make(self, system: System) -> None:
        uid, gid = numbers(system, self.owner, self.group, self.path)
        system.files.make_directory(self.path, mode=self.mode, uid=uid, gid=gid)


@dataclass(frozen=True, kw_only=True)
class MakeLink(PathAction):
    """Make `path` a symbolic link to `to` (kept as written); replaces another link, refuses anything else.

    Arguments:
        replace_file: replace a regular file, too.

    Raises:
        ValueError: the path is none, or `to` cannot be the target of a link.
    """

    kind: ClassVar[str] = "link"
    to: str
    replace_file: bool = False

    def __post_init__(self) -> None:
        demand_path(self.path)
        if not self.to or "\0" in self.to:
            raise ValueError(f"{self.path}: a link must point to something")

    def preview(self, system: System) -> Change:
        """See `Action.preview`."""
        there = system.status(self.path, follow=False)
        if there is None:
            return obstacle_above(system, self.path) or Change(Effect.CREATE, f"new link to {self.to}")
        if there.kind is Kind.FILE and self.replace_file:
            return Change(Effect.UPDATE, f"file of {there.size} bytes becomes link to {self.to}")
        if there.kind is not Kind.LINK:
            return obstacle(there)
        if there.link == self.to:
            return ALREADY_SO
        return Change(Effect.UPDATE, f"link to {there.link} becomes link to {self.to}")

    async def apply(self, target: Target) -> None:
        """See `Action.apply`."""
        make_link = target.system.files.make_link
        await asyncio.to_thread(make_link, self.path, self.to, replace_file=self.replace_file)
