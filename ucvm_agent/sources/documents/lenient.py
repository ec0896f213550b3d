"""Fields of documents that others write: a value of another type than expected counts as not given."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

import structlog
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

log = structlog.get_logger()

M = TypeVar("M", bound="Document")


def _text(value: Any) -> str:
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""


def _texts(value: Any) -> list[str]:
    """Take one text, a list, or a mapping's values; a list in these counts as well (`public-keys` has all forms)."""
    if isinstance(value, str):
        return value.splitlines()
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list):
        return []
    return [text for item in value for text in _texts(item)]


def _mappings(value: Any) -> list[Any]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


Text = Annotated[str, BeforeValidator(_text)]
Texts = Annotated[tuple[str, ...], BeforeValidator(_texts)]
Mappings = Annotated[tuple[dict[str, Any], ...], BeforeValidator(_mappings)]


class Document(BaseModel):
    """The base of what is read of such documents; keys that nobody reads are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


def read_json(model: type[M], document: bytes | None, where: str) -> M:
    """Return what the document says; nothing, with a warning, if it is not JSON.

    Arguments:
        document: None if there is none.
        where: its name, for people.
    """
    try:
        return model.model_validate_json(document or b"{}")
    except ValidationError:
        log.warning("a document of the platform is not understood", document=where)
        return model()


def read_yaml(model: type[M], document: bytes | None, where: str) -> M:
    """Return what the document says; nothing, with a warning, if it is no mapping in YAML (or JSON)."""
    import yaml

    try:
        tree = yaml.load(document or b"{}", Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - safe
        return model.model_validate(tree or {})
    except (yaml.YAMLError, ValueError, RecursionError):  # ValidationError is a ValueError
        log.warning("a document of the platform is not understood", document=where)
        return model()
