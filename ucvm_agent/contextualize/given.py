"""The values that a context gives for some options, of which wrong ones can be left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ucvm_agent.userdata.context import Frozen, Path


class Given:
    """Values by field, and which of them are left out.

    A path in it begins with the name of the field. Those of a validated copy count only what is in the copy;
    `original` leads back from them to the values as they were given.
    """

    def __init__(self, values: Mapping[str, Frozen]) -> None:
        self._values = values
        self._left_out: set[Path] = set()
        self._kept: dict[Path, list[int]] = {}

    def copy(self) -> dict[str, object]:
        """Return all that is not left out, in plain dicts and lists."""
        self._kept.clear()
        return {
            field: self._copy(value, (field,))
            for field, value in self._values.items()
            if (field,) not in self._left_out
        }

    def original(self, path: tuple[str | int, ...]) -> Path:
        """Return what a path in the last copy was before items were left out of its lists."""
        known: Path = ()
        for step in path:
            if isinstance(step, int) and known in self._kept and step < len(self._kept[known]):
                step = self._kept[known][step]
            known = (*known, step)
        return known

    def leave_out(self, paths: Iterable[Path]) -> bool:
        """Leave out the innermost list item around each path, else its field; False if that changes nothing."""
        before = len(self._left_out)
        self._left_out.update(removable for path in paths if (removable := self._removable(path)))
        return len(self._left_out) > before

    def _removable(self, path: Path) -> Path | None:
        if not path or path[0] not in self._values:
            return None
        value, innermost = self._values[str(path[0])], path[:1]
        for end, step in enumerate(path[1:], start=2):
            if isinstance(value, Mapping):
                # A model may have read the key `a-b` as `a_b`.
                value = next((item for key, item in value.items() if key.replace("-", "_") == step), None)
            elif isinstance(value, tuple) and isinstance(step, int) and step < len(value):
                value, innermost = value[step], path[:end]
            else:
                break
        return innermost

    def _copy(self, value: Frozen, path: Path) -> object:
        if isinstance(value, Mapping):
            return {key: self._copy(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, tuple):
            kept = [number for number in range(len(value)) if (*path, number) not in self._left_out]
            if len(kept) < len(value):
                self._kept[path] = kept
            return [self._copy(value[number], (*path, number)) for number in kept]
        return value
