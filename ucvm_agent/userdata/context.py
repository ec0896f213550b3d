"""What user-data means once it is read: values, scripts, where each was written, and what is wrong.

All formats meet in one tree of values. Its first level holds the keys of cloud-config as they are
(`hostname`, `users`, …) and, in brackets, the sections of the INI dialects (`[cernvm]`, `[ucernvm-begin]`).
A *path* leads through that tree: `("users", 2, "sudo")`, `("[cernvm]", "proxy")`. A *key* is a path as people
write it: `users`, `cvmfs.proxy`, `[cernvm] proxy`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from ucvm_agent.sources.base import Metadata, PersonalityFile

Scalar = str | int | float | bool | None
Frozen = Scalar | tuple["Frozen", ...] | Mapping[str, "Frozen"]
"""A value that cannot be changed: scalars, tuples, read-only mappings."""

Path = tuple[str | int, ...]

UCERNVM = "[ucernvm-begin]"
"""First step of the path of every bootloader setting (references/ucernvm-boot.md, section 3)."""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where something was written: the part of the user-data, and the line and column (from 1; 0 = unknown)."""

    part: str
    line: int = 0
    column: int = 0


class Severity(StrEnum):
    """How bad a problem is: an error means that something asked for will not happen."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in the user-data that its writer should know.

    Arguments:
        message: what was found and what was expected; never holds a secret.
        hint: what to write instead.
    """

    severity: Severity
    place: Place
    message: str
    hint: str = ""


class Frequency(StrEnum):
    """How often something is done: for each instance-id, at each boot, or once in the life of the disk."""

    INSTANCE = "instance"
    BOOT = "boot"
    ONCE = "once"


class Stage(StrEnum):
    """When a script runs, seen from the other contextualizers."""

    BEFORE = "before"
    AFTER = "after"


@dataclass(frozen=True, slots=True)
class Script:
    """A program in the user-data.

    Arguments:
        name: unique within the context, usable as a file name.
        text: the whole program; its first line is an interpreter line that exists on today's systems
            (`/bin/sh.before` is rewritten to `/bin/sh`, references/amiconfig.md, section 5).
    """

    name: str
    text: bytes = field(repr=False)
    stage: Stage
    frequency: Frequency
    place: Place


@dataclass(frozen=True, slots=True)
class Part:
    """One piece of the user-data after unpacking.

    Arguments:
        name: what `Place.part` refers to: a MIME part's file name, or `user-data` if there is only one part.
        content_type: its MIME type.
        text: the whole piece, secrets and all, so that a problem can be shown with its line
            (`excerpt.py` masks the secrets); empty for what is not text.
    """

    name: str
    content_type: str
    text: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Include:
    """A text that the user-data wants from elsewhere, and that has not been fetched yet.

    Arguments:
        url: where it is; its query may be a secret.
        once: it is fetched once for each instance, not at each boot.
        local: it is named by a file of this machine, and may be one itself.
    """

    url: str = field(repr=False)
    once: bool
    local: bool
    place: Place


@dataclass(frozen=True, slots=True)
class Entry:
    """A value together with its path and the place where it was written."""

    path: Path
    value: Frozen
    place: Place


@dataclass(frozen=True, slots=True)
class Context:
    """One user-data, decoded.

    Arguments:
        digest: SHA-256 of the raw user-data in hex (with all else that the source gave and that they include after it,
            where there is any); names the context everywhere.
        values: the tree of values, see the module's docstring.
        places: for each path in `values` (inner ones too) where it was written.
        problems: in the order of the text.
        pickup: an archive that came on a local medium, to be unpacked over the system.
        files: that the platform hands over to be written.
        missing: keys of the cluster that the user-data waits for (`placeholders.py`).
        includes: what is still missing of it; empty once all of it is there, or is known not to be had.
    """

    digest: str
    parts: tuple[Part, ...] = ()
    values: Mapping[str, Frozen] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    places: Mapping[Path, Place] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    scripts: tuple[Script, ...] = ()
    problems: tuple[Problem, ...] = ()
    metadata: Metadata = field(default_factory=Metadata)
    pickup: bytes | None = field(default=None, repr=False)
    files: tuple[PersonalityFile, ...] = ()
    missing: frozenset[str] = frozenset()
    includes: tuple[Include, ...] = ()

    def entry(self, key: str) -> Entry | None:
        """Return the value that was written for `key` (`hostname`, `a.b`, `[section] option`), if any."""
        path = parse_key(key)
        value: Frozen = self.values
        for step in path:
            if not isinstance(value, Mapping) or step not in value:
                return None
            value = value[str(step)]
        return Entry(path, value, self.place(path))

    def place(self, path: Path) -> Place:
        """Return where `path`, or the innermost thing around it that is known, was written."""
        for end in range(len(path), 0, -1):
            if (found := self.places.get(path[:end])) is not None:
                return found
        return Place(self.parts[0].name if self.parts else "user-data")

    def is_written_otherwise(self, path: Path, number: str) -> bool:
        """Whether a number stands in the text in another form than this one, such as 0755 for 493."""
        place = self.place(path)
        text = next((part.text for part in self.parts if part.name == place.part), "")
        lines = text.split("\n")
        line = lines[place.line - 1][place.column - 1 :] if 0 < place.line <= len(lines) else ""
        written = re.match(r"[-+.0-9][-+._0-9A-Za-z]*(?=\s*(?:[],#]|$))", line)
        return written is not None and written[0] != number


def parse_key(key: str) -> Path:
    """Turn a key as people write it into a path: `[cernvm] proxy`, `hostname`, `cvmfs.proxy`."""
    if key.startswith("["):
        section, _, option = key.partition("]")
        return (f"{section}]", option.strip()) if option.strip() else (f"{section}]",)
    return tuple(key.split("."))


def format_path(path: Path) -> str:
    """Turn a path into the key that people write; list positions count from 1: `users[1].sudo`."""
    start = 2 if str(path[0]).startswith("[") else 1
    text = " ".join(str(step) for step in path[:start])
    for step in path[start:]:
        text += f"[{step + 1}]" if isinstance(step, int) else f".{step}"
    return text


def freeze(value: object) -> Frozen:
    """Return an unchangeable copy of a JSON-like value; anything else becomes its text."""
    if isinstance(value, Mapping):
        return MappingProxyType({str(key): freeze(item) for key, item in value.items()})
    if isinstance(value, list | tuple):
        return tuple(freeze(item) for item in value)
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return str(value)


def thaw(value: Frozen) -> object:
    """Return a value made of plain dicts and lists, for libraries that insist on them."""
    if isinstance(value, Mapping):
        return {key: thaw(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [thaw(item) for item in value]
    return value
