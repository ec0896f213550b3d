"""What is wrong in the settings, for people: all of it at once, each with its place and what to write instead."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from ucvm_agent.errors import SettingsError
from ucvm_agent.expected import complaint
from ucvm_agent.nearest import suggest

if TYPE_CHECKING:
    from pydantic import ValidationError

SettingPath = tuple[str, ...]


def united(mistakes: Sequence[SettingsError]) -> SettingsError:
    """Return one error for all mistakes, of which there is one at least."""
    return mistakes[0] if len(mistakes) == 1 else SettingsError("; ".join(map(str, mistakes)))


def unknown(path: SettingPath, known: Collection[SettingPath], where: str, listing: str) -> SettingsError:
    """Return the error for a setting that there is not, or for a value in the place of a table."""
    name = ".".join(path)
    if any(each[: len(path)] == path for each in known):
        return SettingsError(f"{name} is a table", where=where, hint=f"write [{name}], and its settings beneath that")
    return SettingsError(f"unknown setting {name}", where=where, hint=nearest(name, map(".".join, known), listing))


def nearest(name: str, known: Iterator[str] | Collection[str], listing: str) -> str:
    """Return what may have been meant by a name; else the command that lists all settings."""
    return suggest(name, known, 0.5) or f"`{listing}` lists all settings"


def refused(error: ValidationError, origins: Mapping[SettingPath, str]) -> Iterator[SettingsError]:
    """Yield an error for each impossible value."""
    for detail in error.errors(include_url=False, include_input=False):
        steps = [str(step) for step in detail["loc"] if not isinstance(step, int)]
        items = [f"[{step + 1}]" for step in detail["loc"] if isinstance(step, int)]
        where = origins.get(tuple(steps), "")
        yield SettingsError(f"{'.'.join(steps)}{''.join(items)}: {complaint(detail)}", where=where)


def explain_toml(error: ValueError, content: bytes) -> tuple[str, str]:
    """Return why a file is no TOML, with the line, and what to do about it."""
    if isinstance(error, UnicodeDecodeError):
        line = content.count(b"\n", 0, error.start) + 1
        return f"line {line} is not UTF-8", "save it as UTF-8"
    hint = 'texts stand in quotes: name = "value"' if "Invalid value" in str(error) else ""
    return f"is not TOML: {error}", hint


def line_of(text: str, path: SettingPath) -> int:
    """Return the line that sets `path`, or the table around it, in a TOML text, or 0; tomllib does not keep lines."""
    wanted = {".".join(path[:end]) for end in range(1, len(path) + 1)}
    table, lines = "", dict[str, int]()
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[{1,2}([^\[\]]+)\]", line):
            name = table = _bare(header[1])
        elif key := re.match(r"""\s*([\w."' -]+?)\s*=""", line):
            name = f"{table}.{_bare(key[1])}".lstrip(".")
        else:
            continue
        if name in wanted:
            lines.setdefault(name, number)
    return lines[max(lines, key=len)] if lines else 0


def _bare(name: str) -> str:
    return re.sub(r"""[\s"']""", "", name)
