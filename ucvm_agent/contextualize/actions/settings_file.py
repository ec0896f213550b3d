"""The settings of the agent that come from user-data."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import SecretStr, ValidationError

from ucvm_agent.contextualize.actions.attributes import parents, path_resource
from ucvm_agent.contextualize.actions.base import Action, Change, Resource
from ucvm_agent.contextualize.actions.difference import HIDDEN, content_difference
from ucvm_agent.contextualize.actions.files import WriteFile
from ucvm_agent.contextualize.redaction import explain
from ucvm_agent.settings import CONTEXT_FILE, CONTEXT_TABLES, Settings, leaves

if TYPE_CHECKING:
    from ucvm_agent.contextualize.system import System
    from ucvm_agent.contextualize.target import Target

MASK = "***"
ONLY_SECRETS = "only secrets change (hidden)\n"


@dataclass(frozen=True, kw_only=True)
class WriteSettings(Action):
    """Make the agent's settings those of the user-data; the daemon takes them over when the plan is done.

    Arguments:
        content: TOML, as in agent.toml, of the tables that user-data may set; empty takes back what earlier
            user-data set.

    Raises:
        ValueError: it is not TOML, or the agent would refuse a setting; the message holds no value.
    """

    kind: ClassVar[str] = "settings"
    sensitive: ClassVar[bool] = True
    content: bytes = field(default=b"", repr=False)

    def __post_init__(self) -> None:
        try:
            document = tomllib.loads(self.content.decode())
            Settings.model_validate(document)
        except ValidationError as error:
            raise ValueError(explain(error)) from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError):
            raise ValueError("the settings are not TOML") from None
        if refused := sorted(document.keys() - set(CONTEXT_TABLES)):
            raise ValueError(f"user-data cannot set {', '.join(refused)}")

    @property
    def target(self) -> str:
        """The path of the file."""
        return CONTEXT_FILE

    def provides(self) -> frozenset[Resource]:
        """See `Action.provides`: the path."""
        return frozenset({path_resource(CONTEXT_FILE)})

    def requires(self) -> frozenset[Resource]:
        """See `Action.requires`: the directories above."""
        return parents(CONTEXT_FILE)

    def preview(self, system: System) -> Change:
        """See `Action.preview`: a unified diff with the secrets masked."""
        change = self._file().preview(system)
        before = system.read(CONTEXT_FILE)
        unreadable = before is None and system.status(CONTEXT_FILE) is not None
        if unreadable or HIDDEN not in change.diff:
            return change
        shown = None if before is None else _masked(before)
        difference = content_difference(CONTEXT_FILE, shown, _masked(self.content)) or ONLY_SECRETS
        return replace(change, diff=change.diff.replace(HIDDEN, difference))

    async def apply(self, target: Target) -> None:
        """See `Action.apply`."""
        await self._file().apply(target)

    def _file(self) -> WriteFile:
        return WriteFile(path=CONTEXT_FILE, content=self.content, mode=0o600, sensitive=True)


def _masked(content: bytes) -> bytes:
    """Return settings as they may be shown; what somebody else made of the file is not shown at all."""
    try:
        document = tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        return b"(hidden)\n"
    for path, declared in leaves():
        if declared.annotation is SecretStr:
            _mask(document, path)
    import tomli_w  # for those who have settings only: a dry run has to start fast

    return tomli_w.dumps(document).encode()


def _mask(document: dict[str, Any], path: tuple[str, ...]) -> None:
    *tables, name = path
    for table in tables:
        document = document.get(table, {})
    if isinstance(document, dict) and document.get(name):
        document[name] = MASK
