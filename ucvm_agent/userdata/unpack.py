"""From raw bytes to pieces in one text format each: gzip, base64 and MIME are taken off, within bounds.

The rules are cloud-init's (references/clouds.md, section 5.1), with amiconfig-mime's mbox line tolerated
(references/amiconfig.md, section 5).
"""

from __future__ import annotations

import binascii
import re
import zlib
from collections.abc import Iterator
from dataclasses import replace

from ucvm_agent.userdata.bounds import MAX_UNPACKED, Bounds
from ucvm_agent.userdata.formats import EXPECTED, is_undecided
from ucvm_agent.userdata.piece import Piece
from ucvm_agent.userdata.problems import Problems

_GZIP = b"\x1f\x8b"
_MBOX = re.compile(rb"\s*From [^\n]*\n")
_HEADER = re.compile(rb"[A-Za-z][A-Za-z0-9-]*:")
_MESSAGE = re.compile(rb"^(?:mime-version:|content-type:\s*multipart/)", re.IGNORECASE | re.MULTILINE)
_MESSAGE_HEAD = 4096
_GUESSED = re.compile(rb"\x1f\x8b|#|\[|content-type:|mime-version:|from ", re.IGNORECASE)


def unpack(piece: Piece, bounds: Bounds, problems: Problems) -> Iterator[Piece]:
    """Yield the pieces inside a piece, in the order of the text.

    Raises:
        BoundExceeded: too large, too deep or too many parts.
    """
    waiting = [piece]
    while waiting:
        opened = waiting.pop()
        bounds.check_depth(opened.depth, opened.name)
        inside = _open(opened, bounds, problems)
        if inside is None:
            bounds.count_bytes(len(opened.data), opened.name)
            yield opened
        else:
            waiting += reversed(inside)


def decode_said_base64(piece: Piece, problems: Problems) -> Piece:
    """Take off the base64 that the platform says there is; where there is none, say so and go on without."""
    if (data := decode_base64(piece.data)) is not None:
        return replace(piece, data=data, depth=piece.depth + 1)
    problems.warning(piece.place, "the platform says that this is base64, and it is not; it is read as it is")
    return piece


def decode_base64(data: bytes) -> bytes | None:
    """Return what strict base64 with line breaks stands for; None if it is not that."""
    try:
        return binascii.a2b_base64(b"".join(data.split()), strict_mode=True)
    except ValueError:
        return None


def _open(piece: Piece, bounds: Bounds, problems: Problems) -> list[Piece] | None:
    """Take one layer off a piece; None if there is no layer that we can take off."""
    if piece.data.startswith(_GZIP):
        data = _inflate(piece, bounds)
        if data is not None:
            return [replace(piece, data=data, content_type=_inflated_type(piece), depth=piece.depth + 1)]
        problems.error(piece.place, "the gzip data are damaged or cut short", "pack the file again with gzip")
        return []
    if piece.is_container or (is_undecided(piece.content_type) and _is_message(piece.data)):
        return _open_message(piece, bounds, problems)
    if is_undecided(piece.content_type) and (guessed := _guess_base64(piece.data)) is not None:
        hint = f"if it is none, let it begin with {EXPECTED}"
        problems.note(piece.place, "this was taken for base64 by its looks", hint)
        return [replace(piece, data=guessed, depth=piece.depth + 1)]
    return None


def _is_message(data: bytes) -> bool:
    """Tell whether bytes are a MIME message: headers from the first line on, with one that only MIME has."""
    head = data[:_MESSAGE_HEAD]
    if (mbox := _MBOX.match(head)) is not None:
        head = head[mbox.end() :]
    return _HEADER.match(head.lstrip()) is not None and _MESSAGE.search(head) is not None


def _inflated_type(piece: Piece) -> str:
    return "" if "gzip" in piece.content_type else piece.content_type


def _inflate(piece: Piece, bounds: Bounds) -> bytes | None:
    """Unpack gzip with all its members, stopping as soon as a bound is passed; None if it is damaged."""
    output: list[bytes] = []
    size = 0
    data = piece.data
    while data.startswith(_GZIP):
        member = zlib.decompressobj(wbits=31)
        try:
            output.append(member.decompress(data, MAX_UNPACKED - size + 1))
        except zlib.error:
            return None
        size += len(output[-1])
        bounds.count_inflated(len(output[-1]), piece.name)
        if size > MAX_UNPACKED:
            bounds.count_bytes(size, piece.name)
        if not member.eof:
            return None
        data = member.unused_data
    return b"".join(output)


def _guess_base64(data: bytes) -> bytes | None:
    """Decode what is strict base64 as a whole and stands for something that begins like user-data."""
    start = data[:64].lstrip()
    if not re.match(rb"[A-Za-z0-9+/]{4}", start):
        return None
    decoded = decode_base64(data)
    return decoded if decoded is not None and _GUESSED.match(decoded) else None


def _open_message(piece: Piece, bounds: Bounds, problems: Problems) -> list[Piece]:
    """Return the parts of a MIME message; a container in it keeps its name, since nothing is written in it itself."""
    from ucvm_agent.userdata.mime import read_message  # the email package is slow to import, and seldom needed

    inside = []
    for part in read_message(piece, problems):
        if part.is_container:
            bounds.count_containers(1, piece.name)
            depth = piece.depth + piece.is_container  # the headers of a message are no layer of their own
            inside.append(replace(part, name=piece.name, depth=depth))
        else:
            bounds.count_parts(1, piece.name)
            inside.append(replace(part, name=bounds.name_part(part.name), depth=piece.depth + 1))
    return inside
