"""The settings of the agent that user-data may give, as options of a contextualizer.

They are made from the declarations in `settings`, so that a wrong value is refused at its line by the very rules
that it would meet later, and there is one list of settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import SecretStr, create_model
from pydantic.fields import FieldInfo

from ucvm_agent.contextualize.actions.secret import Secret
from ucvm_agent.contextualize.options import Options, Reads, keys_of
from ucvm_agent.settings import CONTEXT_TABLES, leaves
from ucvm_agent.userdata.context import Context

Tables = dict[str, dict[str, Any]]
"""Settings as a file holds them, by table and name; secrets are still `Secret`."""


class SettingsOptions(Options):
    """The base of options that are settings; `settings_options` adds the fields. Fields of its own have `Reads`."""

    @property
    def given(self) -> Tables:
        """The settings that the context gives, without those that were refused."""
        tables: Tables = {}
        for table, name in _settings():
            if _field(table, name) in self.model_fields_set:
                value = _plain(getattr(self, _field(table, name)))
                if value is not None:
                    tables.setdefault(table, {})[name] = value
        return tables

    def is_complete(self, context: Context) -> bool:
        """Tell whether nothing that the context gives was refused."""
        absent = type(self).model_fields.keys() - self.model_fields_set
        fields = [(name, type(self).model_fields[name]) for name in absent]
        return not any(context.entry(key) for name, field in fields for key in keys_of("", name, field))


O = TypeVar("O", bound=SettingsOptions)  # noqa: E741 - as in the contract


def settings_options(base: type[O], also: Mapping[tuple[str, str], str]) -> type[O]:
    """Return `base` with a field for each setting that user-data may give.

    The setting `xmpp.jid` is read from `ucvm_agent: {xmpp: {jid: …}}` in cloud-config, or from `xmpp.jid` in
    `[ucvm-agent]`.

    Arguments:
        also: other keys of the context, by the table and the name of the setting that they stand for.
    """
    fields: dict[str, Any] = {}
    for (table, name), declared in _settings().items():
        kind = Secret if declared.annotation is SecretStr else declared.annotation
        keys = [f"ucvm_agent.{table}.{name}", f"[ucvm-agent] {table}.{name}", *filter(None, [also.get((table, name))])]
        fields[_field(table, name)] = (Annotated[(kind, *declared.metadata, Reads(*keys))], None)
    return create_model(base.__name__, __base__=base, **fields)


def _settings() -> dict[tuple[str, str], FieldInfo]:
    # What is deeper, the original's secure mode, names files of keys: those come with the image.
    return {(path[0], path[1]): field for path, field in leaves() if path[0] in CONTEXT_TABLES and len(path) == 2}


def _field(table: str, name: str) -> str:
    return f"{table}_{name}"


def _plain(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value
