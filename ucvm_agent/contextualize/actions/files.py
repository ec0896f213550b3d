"""Files, directories, links and archives."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from ucvm_agent.contextualize.actions.base import Action, Change, Resource

if TYPE_CHECKING:
    from ucvm_agent.contextualize.system import System
    from ucvm_agent.contextualize.target import Target


@dataclass(frozen=True, kw_only=True)
class WriteFile(Action):
    """Make a regular file have this content, mode and owner, replaced as a whole; parents are made (0755).

    Arguments:
        path: absolute, beneath the root; a symbolic link there is followed (beneath the root) and stays.
        content: the whole content, or what is added at the end if `append`.
        mode: permission bits.
        owner, group: names, looked up in the account files beneath the root when it is applied.
        append: add to what is there (once: content that already ends the file is not added again).
        sensitive: never show the content; always so if neither group nor others may read it.
        check: program and arguments that must accept the new file before it is put in place, where the
            program exists; `{}` stands for the temporary file (`("visudo", "-cf", "{}")`).
    """

    kind: ClassVar[str] = "file"
    path: str
    content: bytes = field(repr=False)
    mode: int = 0o644
    owner: str = "root"
    group: str = "root"
    append: bool = False
    sensitive: bool = False
    check: tuple[str, ...] = ()

    @property
    def target(self) -> str:
        """The path."""
        return self.path

    def preview(self, system: System) -> Change:
        """See `Action.preview`: a unified diff against the file that is there."""
        raise NotImplementedError

    async def apply(self, target: Target) -> None:
        """See `Action.apply`."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class MakeDirectory(Action):
    """Make a directory exist with this mode and owner; parents are made (0755, root)."""

    kind: ClassVar[str] = "directory"
    path: str
    mode: int = 0o755
    owner: str = "root"
    group: str = "root"

    @property
    def target(self) -> str:
        """The path."""
        return self.path

    def preview(self, system: System) -> Change:
        """See `Action.preview`."""
        raise NotImplementedError

    async def apply(self, target: Target) -> None:
        """See `Action.apply`."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class MakeLink(Action):
    """Make `path` a symbolic link to `to` (kept as written); replaces another link, refuses anything else."""

    kind: ClassVar[str] = "link"
    path: str
    to: str

    @property
    def target(self) -> str:
        """The path of the link."""
        return self.path

    def preview(self, system: System) -> Change:
        """See `Action.preview`."""
        raise NotImplementedError

    async def apply(self, target: Target) -> None:
        """See `Action.apply`."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class ExtractArchive(Action):
    """Unpack a tar (plain, gzip, bzip2, xz) or zip archive into a directory.

    Members with absolute paths, with `..`, or of device kinds are refused before anything is unpacked; links
    may not lead outside `path`. Unpacked size is bounded by 1 GiB and 100,000 members.
    """

    kind: ClassVar[str] = "archive"
    path: str
    content: bytes = field(repr=False)
    name: str = "archive"

    @property
    def target(self) -> str:
        """The directory."""
        return self.path

    def preview(self, system: System) -> Change:
        """See `Action.preview`: lists the members that are missing or differ."""
        raise NotImplementedError

    async def apply(self, target: Target) -> None:
        """See `Action.apply`."""
        raise NotImplementedError


_ = Resource
