"""How the cloud-configs of several parts become one (references/clouds.md, section 5.3).

Without instructions a key of a later part replaces that of an earlier one. A part may say otherwise by its
header `Merge-Type`, or by `merge_how` (also `merge_type`) in its YAML, which beats the header:

    merge_how: list(append)+dict(no_replace,recurse_list)+str()
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ucvm_agent.userdata.context import Place
from ucvm_agent.userdata.problems import Problems
from ucvm_agent.userdata.written import Tree, Written, plain

KEYS = ("merge_how", "merge_type")

_KNOWN = {
    "dict": {"replace", "no_replace", "allow_delete", "recurse_dict", "recurse_list", "recurse_array", "recurse_str"},
    "list": {"append", "prepend", "replace", "no_replace", "recurse_dict", "recurse_list", "recurse_str"},
    "str": {"append", "replace", "no_replace"},
}
_MERGER = re.compile(r"\s*([a-z]+)\s*\(([^()]*)\)\s*")
_HINT = "write list(append)+dict(recurse_list)+str(), or leave it out to replace keys"


@dataclass(frozen=True, slots=True)
class Mergers:
    """The settings of each kind of merger; those of the part that comes later govern its merging."""

    mappings: frozenset[str] = frozenset({"replace"})
    lists: frozenset[str] = frozenset()
    texts: frozenset[str] = frozenset()

    def merge(self, older: Tree, newer: Tree) -> Tree:
        """Return the older keys with the newer ones merged in."""
        merged = dict(older)
        for key, new in newer.items():
            if new.value is None and key in merged and "allow_delete" in self.mappings:
                del merged[key]
            else:
                merged[key] = self._merge_value(merged[key], new) if key in merged else new
        return merged

    def _merge_value(self, old: Written, new: Written) -> Written:
        if "replace" in self.mappings:
            return new
        return self._recurse(old, new, self.mappings) or old

    def _recurse(self, old: Written, new: Written, settings: frozenset[str]) -> Written | None:
        """Merge inside two values of the same kind, if the settings of what they are in say so."""
        match old.value, new.value:
            case dict(), dict() if "recurse_dict" in settings:
                return Written(self.merge(old.value, new.value), new.place)
            case list(), list() if settings & {"recurse_list", "recurse_array"}:
                return Written(self._merge_list(old.value, new.value), new.place)
            case str(), str() if "recurse_str" in settings:
                return Written(old.value + new.value, new.place) if "append" in self.texts else new
        return None

    def _merge_list(self, older: list[Written], newer: list[Written]) -> list[Written]:
        if "append" in self.lists:
            return older + newer
        if "prepend" in self.lists:
            return newer + older
        if "no_replace" in self.lists:
            return older + newer[len(older) :]
        both = [self._recurse(old, new, self.lists) or new for old, new in zip(older, newer, strict=False)]
        return both + older[len(both) :] + newer[len(both) :]


def take_mergers(config: Tree, header: str, place: Place, problems: Problems) -> Mergers:
    """Take the instructions out of a part's keys; the header `Merge-Type` counts if there are none."""
    given = [config.pop(key) for key in KEYS if key in config]
    try:
        if given:
            return _read(plain(given[0]))
        return _read(header) if header else Mergers()
    except ValueError as error:
        problems.warning(given[0].place if given else place, f"cannot merge like this: {error}", _HINT)
        return Mergers()


def _read(written: object) -> Mergers:
    """Read `list(append)+dict()`, or the same as a list of names and settings.

    Raises:
        ValueError: it is something else.
    """
    if isinstance(written, str):
        pieces = [_MERGER.fullmatch(piece) for piece in written.split("+")]
        if None in pieces:
            raise ValueError("expected names with settings in parentheses, joined by +")
        return _collect([(piece[1], piece[2].split(",")) for piece in pieces if piece])
    if isinstance(written, list) and all(isinstance(item, dict) for item in written):
        return _collect([(str(item.get("name")), _settings(item.get("settings"))) for item in written])
    raise ValueError("expected a text or a list of names and settings")


def _settings(given: object) -> list[str]:
    if given is not None and not isinstance(given, list):
        raise ValueError("the settings of a merger are a list")
    return [str(setting) for setting in given or ()]


def _collect(mergers: list[tuple[str, list[str]]]) -> Mergers:
    settings: dict[str, frozenset[str]] = {"dict": frozenset()}
    for name, given in mergers:
        if name not in _KNOWN:
            raise ValueError("the only mergers are dict, list and str")
        settings[name] = frozenset(str(setting).strip() for setting in given) - {""}
        if settings[name] - _KNOWN[name]:
            raise ValueError(f"{name} has the settings {', '.join(sorted(_KNOWN[name]))}")
    return Mergers(settings["dict"], settings.get("list", frozenset()), settings.get("str", frozenset()))
