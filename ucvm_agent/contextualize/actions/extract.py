"""Archives that are unpacked beneath the root."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from ucvm_agent.contextualize.actions.attributes import demand_path, obstacle
from ucvm_agent.contextualize.actions.base import ALREADY_SO, Change, Effect
from ucvm_agent.contextualize.actions.owned_path import PathAction
from ucvm_agent.errors import ActionError
from ucvm_agent.files.rootfs import Kind

if TYPE_CHECKING:
    from ucvm_agent.contextualize.system import System
    from ucvm_agent.contextualize.target import Target

MAX_LISTED = 200
"""Members of an archive that a preview names."""


@dataclass(frozen=True, kw_only=True)
class ExtractArchive(PathAction):
    """Unpack a tar (plain, gzip, bzip2, xz) or zip archive into a directory.

    Members with absolute paths, with `..`, or of device kinds are refused before anything is unpacked; links
    may not lead outside `path`. Unpacked size is bounded by 1 GiB and 100,000 members. Everything belongs to
    root; directories that are there already keep their mode and owner (`archives.py` has the other rules).

    Raises:
        ValueError: the path is none.
    """

    kind: ClassVar[str] = "archive"
    content: bytes = field(repr=False)
    name: str = "archive"

    def __post_init__(self) -> None:
        demand_path(self.path, root=True)

    def preview(self, system: System) -> Change:
        """See `Action.preview`: lists the members that are missing or differ."""
        from ucvm_agent.contextualize.actions.archives import check_members, member_difference, read_members

        try:
            total = check_members(self.name, self.content)
            members = read_members(self.name, self.content)
            changes = [line for member in members if (line := member_difference(system, self.path, member))]
        except ActionError as error:
            return Change(Effect.UPDATE, f"would be refused: {error}")
        there = system.status(self.path)
        if there is not None and there.kind is not Kind.DIRECTORY:
            return obstacle(there)
        more = [f"… {len(changes) - MAX_LISTED} more"] if len(changes) > MAX_LISTED else []
        diff = "".join(f"{line}\n" for line in [*changes[:MAX_LISTED], *more])
        if there is None:
            return Change(Effect.CREATE, f"new directory with {total} members", diff)
        return Change(Effect.UPDATE, f"{len(changes)} of {total} members change", diff) if changes else ALREADY_SO

    async def apply(self, target: Target) -> None:
        """See `Action.apply`; cancelled between two members."""
        from ucvm_agent.contextualize.actions.archives import check_members, read_members, unpack_next

        await asyncio.to_thread(check_members, self.name, self.content)
        await asyncio.to_thread(self._make, target.system)
        members = read_members(self.name, self.content)
        while await asyncio.to_thread(unpack_next, target.system, self.path, members):
            pass

    def _make(self, system: System) -> None:
        if system.status(self.path) is None:
            system.files.make_directory(self.path, mode=0o755, uid=0, gid=0)
