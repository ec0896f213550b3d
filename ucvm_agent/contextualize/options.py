"""How a contextualizer says which keys of the context it reads, and gets them as a typed model.

Since every key that means something is declared here by somebody, a key that nobody reads is a mistake of the
context's writer, and the nearest declared key is the best guess at what was meant.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any, TypeVar, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, PrivateAttr, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from ucvm_agent.contextualize.given import Given
from ucvm_agent.contextualize.unsupported import without_effect
from ucvm_agent.expected import complaint
from ucvm_agent.nearest import suggest
from ucvm_agent.userdata.context import (
    Context,
    Entry,
    Frozen,
    Path,
    Problem,
    Severity,
    format_path,
    parse_key,
)


class Options(BaseModel):
    """The base of all options models: immutable, and deaf to keys that it does not declare.

    A field reads the keys of its `Reads` annotation; without one, a field `size` of the contextualizer
    `cache` reads `[cache] size` and `size` in the mapping `cache:` of cloud-config.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True, coerce_numbers_to_str=True)


class Nested(BaseModel):
    """The base of models for mappings inside an options field, such as one user of `users`.

    A key that the model does not declare is no error: `read_options` warns about it, and the rest of the
    mapping counts. `-` in a key is taken for `_`, as cloud-init does.
    """

    model_config = ConfigDict(frozen=True, extra="allow", defer_build=True, coerce_numbers_to_str=True)

    _origin: Path = PrivateAttr(default=())

    @property
    def origin(self) -> Path:
        """The path in the context that it was read from, for `remark`."""
        return self._origin

    @model_validator(mode="before")
    @classmethod
    def _underscores(cls, value: Any) -> Any:
        return {str(key).replace("-", "_"): item for key, item in value.items()} if isinstance(value, dict) else value

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        # A misspelt `password` is among the extras, as plain text.
        extra = self.model_extra or {}
        return (pair for pair in super().__repr_args__() if pair[0] not in extra)


@dataclass(frozen=True, slots=True)
class Reads:
    """Annotation of an options field: the keys it is read from; of several that are given the first wins.

    Example: `proxy: Annotated[str, Reads("[cernvm] proxy", "[ucernvm-begin] cvmfs_http_proxy")] = ""`
    """

    keys: tuple[str, ...]

    def __init__(self, *keys: str) -> None:
        object.__setattr__(self, "keys", keys)


def split_commas(value: object) -> object:
    """Take a text for a list with commas between its items, and nothing for an empty list; a validator."""
    if value is None:
        return []
    return [item.strip() for item in value.split(",") if item.strip()] if isinstance(value, str) else value


CommaList = Annotated[tuple[str, ...], BeforeValidator(split_commas)]
"""A list that INI dialects write as `a,b,c` and cloud-config as a YAML list."""

CLOSENESS = 0.7
"""How alike (from 0 to 1) two keys have to be for one to be offered as what was meant by the other."""

M = TypeVar("M", bound=Options)


def read_options(name: str, model: type[M], context: Context) -> tuple[M | None, list[Problem]]:
    """Make the options of the contextualizer `name` from the context.

    Returns the options and what is wrong with the values. A wrong value is left out (an item of a list, else
    the whole field, which keeps its default), so that one mistake does not take the rest with it; None is
    returned only if even then the model is not satisfied. Unknown keys of `Nested` models are warnings.
    """
    values: dict[str, Frozen] = {}
    origins: dict[str, Path] = {}
    problems: list[Problem] = []
    for field_name, field in model.model_fields.items():
        keys = keys_of(name, field_name, field)
        origins[field_name] = parse_key(keys[0])
        entries = [entry for key in keys if (entry := context.entry(key))]
        for entry in entries[:1]:
            values[field_name], origins[field_name] = entry.value, entry.path
        problems += [_overruled(context, entry, entries[0]) for entry in entries[1:] if entry.value != entries[0].value]
    if not values and not any(field.is_required() for field in model.model_fields.values()):
        # Most contextualizers have nothing to do, and making pydantic's validators is what costs time here.
        # The mypy plugin gives `model_construct` the signature of the bound of M.
        return cast("M", model.model_construct()), problems
    given = Given(values)
    while True:
        try:
            options = model.model_validate(given.copy())
        except ValidationError as error:
            # Pydantic's own text may show a value; these details do not.
            details = error.errors(include_url=False, include_input=False)
        else:
            for nested, path in _nested(options, values):
                nested._origin = _in_context(given.original(path), origins)
                problems += _unknown(context, nested)
            return options, problems
        culprits = {given.original(detail["loc"]): detail for detail in details}
        problems += [_refused(context, _in_context(path, origins), detail) for path, detail in culprits.items()]
        if not given.leave_out(culprits):
            return None, problems


def _overruled(context: Context, entry: Entry, winner: Entry) -> Problem:
    message = f"overruled by {format_path(winner.path)}"
    return remark(context, entry.path, message, "write the same value, or only one of them")


def remark(
    context: Context, where: Path | str, message: str, hint: str = "", severity: Severity = Severity.WARNING
) -> Problem:
    """Return a problem with the value at a path or key of the context.

    Arguments:
        context: what tells the place of the value.
        where: its path, or its key as people write it.
        message: what is wrong with it, without its name; never holds a secret.
        hint: what to write instead.
        severity: ERROR means that something asked for will not happen.
    """
    path = parse_key(where) if isinstance(where, str) else where
    return Problem(severity, context.place(path), f"{format_path(path)}: {message}", hint)


def _nested(options: Options, fields: Iterable[str]) -> Iterator[tuple[Nested, Path]]:
    """Yield each nested model in these fields, with its path in the options."""
    waiting: list[tuple[object, Path]] = [(getattr(options, field), (field,)) for field in fields]
    while waiting:
        value, path = waiting.pop()
        inner: Iterable[tuple[str | int, object]] = ()
        if isinstance(value, Nested):
            yield value, path
            inner = ((field.alias or name, getattr(value, name)) for name, field in type(value).model_fields.items())
        elif isinstance(value, tuple | list):
            inner = enumerate(value)
        elif isinstance(value, Mapping):
            inner = value.items()
        waiting += [(item, (*path, step)) for step, item in inner]


def _in_context(path: Path, origins: Mapping[str, Path]) -> Path:
    return (*origins[str(path[0])], *path[1:]) if path else next(iter(origins.values()))


def _unknown(context: Context, nested: Nested) -> Iterator[Problem]:
    """Yield a warning for each key of a mapping that its model does not declare."""
    known = [field.alias or name for name, field in type(nested).model_fields.items()]
    for key in nested.model_extra or {}:
        hint = suggest(key, known, CLOSENESS) or "it has no effect"
        yield remark(context, (*nested.origin, key), "unknown key", hint)


def _refused(context: Context, path: Path, detail: ErrorDetails) -> Problem:
    # `[key]` is pydantic's step to the key of a mapping itself; steps in "function-…()" are its validators.
    steps = [step for step in path if isinstance(step, int) or not step.startswith(("function-", "[key"))]
    return remark(context, tuple(steps), complaint(detail), _hint(context, steps, detail["type"]), Severity.ERROR)


def _hint(context: Context, path: list[str | int], kind: str) -> str:
    """Return what to write instead, where what was written tells."""
    value = _written(context, path)
    if kind == "string_type" and isinstance(value, bool):
        return "YAML takes this word for a truth value: put it in quotes"
    around = _written(context, path[:-1])
    if kind == "missing" and isinstance(around, Mapping):
        near = get_close_matches(str(path[-1]), around, 1, CLOSENESS)
        return f"did you mean {path[-1]} by {near[0]}?" if near else ""
    return ""


def _written(context: Context, path: Iterable[str | int]) -> object:
    """Return what the context has at a path; None if there is nothing, or it was given in another form."""
    value: Any = context.values
    try:
        for step in path:
            value = value[step]
    except (LookupError, TypeError):
        return None
    return value


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
    """Return a warning for each key of the context that is not among `known`, with the nearest that is.

    Of a mapping of cloud-config (`cvmfs:`) or a section of which single keys are known, each other key is warned
    about; of a section of which none is known, only the section.
    """
    read = {parse_key(key) for key in known}
    return [_not_read(context, path, read) for path in _inner_paths(context.values, read) if path not in read]


def _inner_paths(values: Mapping[str, Frozen], read: Set[Path], above: Path = ()) -> Iterator[Path]:
    """Yield the paths of a tree as deep as single keys are read."""
    mappings = {path[: len(above) + 1] for path in read if len(path) > len(above) + 1}
    for key, value in values.items():
        path = (*above, key)
        if path in mappings and path not in read and isinstance(value, Mapping):
            yield from _inner_paths(value, read, path)
        else:
            yield path


def _not_read(context: Context, path: Path, read: Set[Path]) -> Problem:
    text = format_path(path)
    reason = without_effect(text)
    if reason is not None:
        message = f"{text} is not supported by this agent"
        return Problem(Severity.WARNING, context.place(path), message, reason or "it has no effect")
    if any(each[: len(path)] == path for each in read):
        return remark(context, path, "expected a mapping", "it has no effect")
    is_section = text.startswith("[") and len(path) == 1
    *around, name = path
    siblings = {str(each[len(around)]) for each in read if len(each) >= len(path) and [*each[: len(around)]] == around}
    siblings |= {"[ucernvm-end]"} if is_section else set()
    alike = sorted(each for each in siblings if each.startswith("[") == str(name).startswith("["))
    near = get_close_matches(str(name), alike, 1, CLOSENESS)
    if not near and " " in str(name):  # a line without the = between key and value
        near = get_close_matches(str(name).partition(" ")[0], alike, 1, CLOSENESS)
    message = f"nothing here reads the section {text}" if is_section else f"unknown key {text}"
    hint = f"did you mean {format_path((*around, near[0]))}?" if near else "it has no effect"
    return Problem(Severity.WARNING, context.place(path), message, hint)
