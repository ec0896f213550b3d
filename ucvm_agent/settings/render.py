"""What `config` prints, of the agent and of the controller."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, SecretStr

from ucvm_agent.settings import Section, leaves

if TYPE_CHECKING:
    from ucvm_agent.settings.layers import Effective

S = TypeVar("S", bound=Section)


def settings_text(effective: Effective[S]) -> str:
    """Return all settings as TOML, each with a comment: where it was set, and what it means.

    What has no value stands in a comment, since TOML has no null; secrets are masked.
    """
    lines = []
    table = ""
    for path, declared in leaves(type(effective.settings)):
        if (current := ".".join(path[:-1])) != table:
            table = current
            lines += ["", f"[{table}]"]
        value = _value(effective.settings, path)
        line = f"# {path[-1]} =" if value is None else f"{path[-1]} = {_toml(value)}"
        meaning = f"; {declared.description}" if declared.description else ""
        lines.append(f"{line:<40} # {effective.origins.get(path, 'default')}{meaning}")
    return "\n".join(lines)


def settings_json(effective: Effective[S]) -> str:
    """Return all settings for programs: `{"xmpp.jid": {"value": …, "origin": …}}`; secrets are masked."""
    document = {
        ".".join(path): {"value": _value(effective.settings, path), "origin": effective.origins.get(path, "default")}
        for path, _ in leaves(type(effective.settings))
    }
    return json.dumps(document, indent=2, default=str, ensure_ascii=False)


def _value(settings: BaseModel, path: tuple[str, ...]) -> object:
    value: object = settings
    for step in path:
        value = getattr(value, step)
    if isinstance(value, SecretStr):
        return "***" if value.get_secret_value() else ""
    return value


def _toml(value: object) -> str:
    # JSON's scalars and lists of strings are TOML's, too.
    return json.dumps(value, default=str, ensure_ascii=False)
