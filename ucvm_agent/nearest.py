"""What somebody may have meant by a name that nobody knows."""

from __future__ import annotations

from collections.abc import Iterable

CLOSENESS = 0.6
"""How alike (from 0 to 1) two names have to be for one to be offered for the other."""


def suggest(name: str, known: Iterable[str], closeness: float = CLOSENESS) -> str:
    """Return `did you mean …?` with the name that is nearest to `name`; empty if none is near."""
    from difflib import get_close_matches  # for those who made a mistake only

    near = get_close_matches(name, sorted(known), 1, closeness)
    return f"did you mean {near[0]}?" if near else ""
