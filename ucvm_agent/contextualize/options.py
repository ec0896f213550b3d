"""How a contextualizer says which keys of the context it reads, and gets them as a typed model.

Since every key that means something is declared here by somebody, a key that nobody reads is a mistake of the
context's writer, and the nearest declared key is the best guess at what was meant.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from ucvm_agent.userdata.context import (
    Context,
    Path,
    Problem,
    Severity,
    format_path,
    parse_key,
    thaw,
)


class Options(BaseModel):
    """The base of all options models: immutable, and deaf to keys that it does not declare.

    A field reads the keys of its `Reads` annotation; without one, a field `size` of the contextualizer
    `cache` reads `[cache] size` and `size` in the mapping `cache:` of cloud-config.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


@dataclass(frozen=True, slots=True)
class Reads:
    """Annotation of an options field: the keys it is read from; of several that are given the first wins.

    Example: `proxy: Annotated[str, Reads("[cernvm] proxy", "[ucernvm-begin] cvmfs_http_proxy")] = ""`
    """

    keys: tuple[str, ...]

    def __init__(self, *keys: str) -> None:
        object.__setattr__(self, "keys", keys)


def _split_commas(value: object) -> object:
    return [item.strip() for item in value.split(",") if item.strip()] if isinstance(value, str) else value


CommaList = Annotated[tuple[str, ...], BeforeValidator(_split_commas)]
"""A list that INI dialects write as `a,b,c` and cloud-config as a YAML list."""

M = TypeVar("M", bound=Options)


def read_options(name: str, model: type[M], context: Context) -> tuple[M | None, list[Problem]]:
    """Make the options of the contextualizer `name` from the context.

    Returns the options and what is wrong with the values. A wrong value is left out (its field keeps the
    default), so that one mistake does not take the rest with it; None is returned only if even then the
    model is not satisfied.
    """
    given: dict[str, object] = {}
    origins: dict[str, Path] = {}
    problems: list[Problem] = []
    for field_name, field in model.model_fields.items():
        entries = [entry for key in keys_of(name, field_name, field) if (entry := context.entry(key))]
        for entry in entries[:1]:
            given[field_name], origins[field_name] = thaw(entry.value), entry.path
        problems += [
            Problem(
                Severity.WARNING,
                entry.place,
                f"{format_path(entry.path)} is overruled by {format_path(entries[0].path)}",
                "write the same value, or only one of them",
            )
            for entry in entries[1:]
            if entry.value != entries[0].value
        ]
    for _ in range(len(given) + 1):
        try:
            return model.model_validate(given), problems
        except ValidationError as error:
            for detail in error.errors(include_url=False, include_context=False, include_input=False):
                field_name = str(detail["loc"][0]) if detail["loc"] else ""
                path = (*origins.get(field_name, (name,)), *detail["loc"][1:])
                problems.append(_refused(context, path, detail["msg"]))
                given.pop(field_name, None)
    return None, problems


def _refused(context: Context, path: Path, message: str) -> Problem:
    known = tuple(step for step in path if isinstance(step, int) or not step.startswith("function-"))
    text = message.removeprefix("Value error, ")
    return Problem(Severity.ERROR, context.place(known), f"{format_path(known)}: {text}")


def keys_of(name: str, field_name: str, field: FieldInfo) -> tuple[str, ...]:
    """Return the keys that the field `field_name` of the contextualizer `name` reads."""
    for note in field.metadata:
        if isinstance(note, Reads):
            return note.keys
    return (f"{name}.{field_name}", f"[{name}] {field_name}")


def model_keys(name: str, model: type[Options]) -> Iterator[str]:
    """Yield all the keys that an options model reads."""
    for field_name, field in model.model_fields.items():
        yield from keys_of(name, field_name, field)


def unread(context: Context, known: Iterable[str]) -> list[Problem]:
    """Return a warning for each key of the context that is not among `known`, with the nearest that is."""
    known_keys = {parse_key(key) for key in known}
    read = {path[: 2 if str(path[0]).startswith("[") else 1] for path in known_keys}
    names = {format_path(path) for path in read}
    sections = {str(path[0]) for path in read if len(path) > 1}
    problems = []
    for path in context.paths():
        if path in read:
            continue
        text = format_path(path)
        section = str(path[0])
        if len(path) > 1 and section not in sections:
            message, near = (
                f"nothing here reads the section {section}",
                get_close_matches(section, sections, 1),
            )
        else:
            message = f"unknown key {text}"
            near = get_close_matches(text, [n for n in names if n.startswith("[") == text.startswith("[")], 1)
        hint = f"did you mean {near[0]}?" if near else "it has no effect"
        problems.append(Problem(Severity.WARNING, context.place(path), message, hint))
    return problems
