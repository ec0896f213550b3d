"""From the bytes of a piece to text, or the finding that it is none."""

from __future__ import annotations

import codecs
import re

from ucvm_agent.userdata.context import Place
from ucvm_agent.userdata.formats import EXPECTED
from ucvm_agent.userdata.piece import Piece
from ucvm_agent.userdata.problems import Problems

_ESCAPED = re.compile("[\ud800-\udfff]")
_MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}


def read_text(piece: Piece, problems: Problems) -> str | None:
    """Return a piece as text, bytes that are not in its character set as surrogate escapes; None if it is no text.

    A script may hold any bytes after its interpreter line, and gets them back in `scripts.py`.
    """
    data, charset = piece.data, piece.charset or "utf-8"
    for mark, marked in _MARKS.items():
        if data.startswith(mark):
            data, charset = data[len(mark) :], marked
            message = "the byte order mark at the beginning is ignored"
            problems.note(piece.place, message, "save it as UTF-8 without a byte order mark")
    text = _decode(data, charset)
    if data.lstrip().startswith(b"#!"):
        return text
    escaped = _ESCAPED.search(text)
    if "\0" in text or (escaped and len(_ESCAPED.findall(text)) > len(text) // 8):
        hint = "save it as UTF-8" if _is_utf16(piece.data) else "compress only with gzip"
        problems.error(piece.place, f"these are binary data: expected {EXPECTED}", hint)
        return None
    if escaped is not None:
        line = text.count("\n", 0, escaped.start()) + 1
        column = escaped.start() - text.rfind("\n", 0, escaped.start())
        message = "a character is not UTF-8; it is replaced by a question mark"
        problems.warning(Place(piece.name, line, column), message, "save the text as UTF-8")
    return text


def _is_utf16(data: bytes) -> bool:
    """Tell whether bytes look like text of Western languages in UTF-16 without its mark: every second one is NUL."""
    head = data[:64]
    return len(head) > 2 and (not any(head[::2]) or not any(head[1::2]))


def scrub(text: str) -> str:
    """Replace surrogates one by one, so that the text can be shown and written anywhere."""
    return _ESCAPED.sub("\ufffd", text)


def _decode(data: bytes, charset: str) -> str:
    try:
        if codecs.lookup(charset).name not in ("utf-8", "ascii"):
            # Some character sets spell halves of surrogate pairs, which no file can hold.
            return data.decode(charset, "replace").encode(errors="replace").decode()
    except (LookupError, ValueError):
        pass  # an unknown character set, or a name of a codec that is none: UTF-8 is the best guess
    return data.decode("utf-8", "surrogateescape")
