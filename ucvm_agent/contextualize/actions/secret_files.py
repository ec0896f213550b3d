"""Files whose content is a secret that is kept elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ucvm_agent.contextualize.actions.attributes import (
    attribute_difference,
    describe_attributes,
    obstacle,
    obstacle_above,
)
from ucvm_agent.contextualize.actions.base import Change, Effect
from ucvm_agent.contextualize.actions.files import WriteFile
from ucvm_agent.contextualize.actions.owned_path import OwnedPath
from ucvm_agent.contextualize.actions.secret import SecretReference
from ucvm_agent.files.rootfs import Kind

if TYPE_CHECKING:
    from ucvm_agent.contextualize.system import System
    from ucvm_agent.contextualize.target import Target


@dataclass(frozen=True, kw_only=True)
class WriteSecretFile(OwnedPath):
    """Make a regular file have what a reference stands for as its content, as `WriteFile` does.

    Arguments:
        source: where the content is kept.
        end_line: add a line end if the content has none, for programs that want whole lines.

    Raises:
        ValueError: the path or the mode is none.
    """

    kind: ClassVar[str] = "secret_file"
    sensitive: ClassVar[bool] = True
    source: SecretReference
    mode: int = 0o600
    end_line: bool = False

    def preview(self, system: System) -> Change:
        """See `Action.preview`; the content is neither fetched nor compared."""
        there = system.status(self.path)
        if there is None:
            attributes = describe_attributes(self.mode, self.owner, self.group)
            summary = f"new file from {self.source}, {attributes}"
            return obstacle_above(system, self.path) or Change(Effect.CREATE, summary)
        if there.kind is not Kind.FILE:
            return obstacle(there)
        attributes = attribute_difference(system, there, self.mode, self.owner, self.group)
        return Change(Effect.UPDATE, f"content from {self.source}", attributes)

    async def apply(self, target: Target) -> None:
        """See `Action.apply`."""
        content = (await target.secrets.resolve(self.source)).get_secret_value()
        if self.end_line and not content.endswith(b"\n"):
            content += b"\n"
        written = WriteFile(
            path=self.path, content=content, mode=self.mode, owner=self.owner, group=self.group, sensitive=True
        )
        await written.apply(target)
