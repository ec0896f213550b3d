"""A tree of values in which each knows the place where it was written, for as long as parts are being merged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ucvm_agent.userdata.context import Path, Place, Scalar


@dataclass(frozen=True, slots=True)
class Written:
    """A value and the place where it was written: that of its key, or of itself in a list."""

    value: Scalar | list[Written] | dict[str, Written]
    place: Place


Tree = dict[str, Written]


def plain(written: Written) -> object:
    """Return the value without places."""
    if isinstance(written.value, dict):
        return {key: plain(item) for key, item in written.value.items()}
    if isinstance(written.value, list):
        return [plain(item) for item in written.value]
    return written.value


def places(tree: Mapping[str, Written]) -> Iterator[tuple[Path, Place]]:
    """Yield the place of each path in the tree."""
    for key, item in tree.items():
        yield from _places((key,), item)


def _places(path: Path, written: Written) -> Iterator[tuple[Path, Place]]:
    yield path, written.place
    if isinstance(written.value, dict):
        for key, item in written.value.items():
            yield from _places((*path, key), item)
    elif isinstance(written.value, list):
        for position, item in enumerate(written.value):
            yield from _places((*path, position), item)


def add_sections(tree: Tree, newer: Mapping[str, Written]) -> None:
    """Add INI sections to those of a tree option by option; of an option that is in both, the newer one stays."""
    for name, section in newer.items():
        known = tree.setdefault(name, Written({}, section.place))
        if isinstance(known.value, dict) and isinstance(section.value, dict):
            known.value.update(section.value)
