"""How a file's content would change, for people."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import unified_diff
from hashlib import sha256

MAX_SHOWN = 256 * 1024
"""Bytes of both contents together that are compared line by line; the time for that grows with their square."""

HIDDEN = "content changes (hidden)\n"


def content_difference(path: str, before: bytes | None, after: bytes) -> str:
    """Return a unified diff, or one line about contents that are not text or too long to compare.

    Arguments:
        path: for the labels.
        before: what is there; None if there is nothing.
    """
    if before == after:
        return ""
    old, new = _lines(before or b""), _lines(after)
    if old is None or new is None or len(before or b"") + len(after) > MAX_SHOWN:
        return f"content changes: {_describe(before)} to {_describe(after)}\n"
    label = path if before is not None else f"{path} (new file)"
    return "".join(_ended(unified_diff(old, new, label, path)))


def _lines(content: bytes) -> list[str] | None:
    """Return the lines with their ends; None if a terminal would not show them as they are."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return None
    if not all(character.isprintable() or character in "\t\n\r\f\xa0" for character in text):
        return None
    lines = text.split("\n")
    return [f"{line}\n" for line in lines[:-1]] + [line for line in lines[-1:] if line]


def _ended(lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"


def _describe(content: bytes | None) -> str:
    if content is None:
        return "nothing"
    return f"{len(content)} bytes (SHA-256 {sha256(content).hexdigest()[:12]})"
