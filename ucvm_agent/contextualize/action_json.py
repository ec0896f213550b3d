"""Actions that somebody wrote as JSON: the same closed set, checked field by field.

The models are made from the action classes themselves, so that there is one list of actions and of their fields.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import MISSING, fields
from functools import cache
from typing import Annotated, Any, get_type_hints

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, create_model

from ucvm_agent.contextualize import actions
from ucvm_agent.contextualize.actions import Action
from ucvm_agent.contextualize.redaction import explain
from ucvm_agent.nearest import suggest

BASE64 = "_base64"
"""End of the name of a field whose bytes are given in base64."""


def make_action(item: Mapping[str, object]) -> Action:
    """Make the action that a JSON object describes: its `kind`, and the fields of the class of that kind.

    Raises:
        ValueError: it describes none; the message names the field, and holds no value.
    """
    kind = item.get("kind")
    known = _kinds()
    if not isinstance(kind, str) or kind not in known:
        hint = suggest(str(kind), known) or f"there are {', '.join(sorted(known))}"
        raise ValueError(f"no kind of action: {kind!r}; {hint}")
    given = dict(_decoded(name, value) for name, value in item.items() if name != "kind")
    try:
        values = _model(known[kind]).model_validate(given)
    except ValidationError as error:
        raise ValueError(f"{kind}: {explain(error)}") from None
    return known[kind](**{name: getattr(values, name) for name in values.model_fields_set})


@cache
def _kinds() -> dict[str, type[Action]]:
    classes = [getattr(actions, name) for name in actions.__all__]
    return {each.kind: each for each in classes if issubclass(each, Action) and each is not Action}


@cache
def _model(action: type[Action]) -> type[BaseModel]:
    types = get_type_hints(action, include_extras=True)
    definitions: dict[str, Any] = {}
    for item in fields(action):
        required = item.default is MISSING and item.default_factory is MISSING
        reader = BeforeValidator(_READERS.get(item.name, lambda value: value))
        definitions[item.name] = (Annotated[types[item.name], reader], ... if required else None)
    return create_model(action.__name__, __config__=ConfigDict(extra="forbid"), **definitions)


def _decoded(name: str, value: object) -> tuple[str, object]:
    if not name.endswith(BASE64):
        return name, value
    try:
        return name.removesuffix(BASE64), base64.b64decode(str(value), validate=True)
    except binascii.Error:
        raise ValueError(f"{name}: it is not base64") from None


def _read_mode(value: object) -> int:
    if isinstance(value, str) and re.fullmatch(r"[0-7]{3,5}", value):
        return int(value, 8)
    raise ValueError('expected octal text such as "0644"')


def _read_environment(value: object) -> object:
    return tuple(value.items()) if isinstance(value, Mapping) else value


_READERS = {"mode": _read_mode, "environment": _read_environment}
"""How the fields of these names are written, where JSON says it better than the type of the field."""
