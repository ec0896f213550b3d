"""Showing the line that a problem is about, without the secrets in it."""

from __future__ import annotations

import re

from ucvm_agent.userdata.context import Context, Place
from ucvm_agent.userdata.masking import MASK, is_secret_key, mask

__all__ = ["MASK", "WIDTH", "caret", "excerpt", "is_secret_key"]

WIDTH = 76
"""Most characters of a line that are shown."""

_READABLE = 4_096
"""Most characters of a line in which secrets are looked for; of a longer one only the beginning can be shown."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]")


def excerpt(context: Context, place: Place) -> str:
    """Return the line at `place` with secrets masked, cut around its column; empty if there is no such line.

    It is safe to print on a terminal: control characters are replaced one by one, tabs by a blank.
    """
    line, column = _masked(context, place)
    start = _start(line, column)
    shown = line[start : start + WIDTH]
    if start > 0:
        shown = f"…{shown[1:]}"
    return f"{shown[:-1]}…" if start + WIDTH < len(line) else shown


def caret(context: Context, place: Place) -> int:
    """Return the column (from 1) of `place` in what `excerpt` returns; 0 if there is nothing to point at."""
    line, column = _masked(context, place)
    return column - _start(line, column) if line and column else 0


def _masked(context: Context, place: Place) -> tuple[str, int]:
    """Return the whole masked line, and the column of the place in it."""
    text = next((part.text for part in context.parts if part.name == place.part), "")
    lines = text.split("\n")
    if not 0 < place.line <= len(lines):
        return "", 0
    position = place.line - 1
    lines[position] = lines[position].rstrip("\r")
    if len(lines[position]) > _READABLE:
        lines[position] = lines[position][:_READABLE]
    line = _CONTROL.sub("\ufffd", mask(lines, position).replace("\t", " "))
    return line, min(place.column, len(line) + 1)


def _start(line: str, column: int) -> int:
    """Return the position of the first character that is shown."""
    if len(line) <= WIDTH or column <= WIDTH * 3 // 4:
        return 0
    return min(column - WIDTH // 2, len(line) - WIDTH)
