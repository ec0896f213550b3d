"""MIME messages, one level at a time, so that depth and number of parts are bounded by the caller.

Headers, boundaries and encodings are the email package's business; its own parser is not used for bodies,
since it descends by recursion and looks at each line once for each level.
"""

from __future__ import annotations

import binascii
import quopri
import re
from collections.abc import Callable, Iterator
from email.message import Message
from email.parser import BytesHeaderParser
from email.policy import compat32

from ucvm_agent.userdata.context import Place
from ucvm_agent.userdata.piece import Piece
from ucvm_agent.userdata.problems import Problems

_MBOX = re.compile(rb"\s*From [^\n]*\n")
_BLANK = re.compile(rb"(?:\A|\n)\r?(?:\n|\Z)")
_TYPE = re.compile(r"[a-z0-9.+-]+/[a-z0-9.+-]+")
_SHOWN_NAME = 60
_SECTION = re.compile(rb"^\[[\w.-]+\]", re.MULTILINE)


def read_message(container: Piece, problems: Problems) -> Iterator[Piece]:
    """Yield the pieces directly inside a message, their transfer encoding taken off, named by file name if any.

    Arguments:
        container: a whole message with its headers, or the body of a multipart.
    """
    if container.content_type.startswith("multipart/"):
        yield from _read_multipart(container, problems)
        return
    data = container.data
    if (mbox := _MBOX.match(data)) is not None:
        data = data[mbox.end() :]
    yield _read_part(data.lstrip(b"\r\n"), container.place, problems)


def _read_multipart(container: Piece, problems: Problems) -> Iterator[Piece]:
    """Yield the parts between the boundaries, and then what stands outside them, if it means something."""
    data, place = container.data, container.place
    if not container.boundary:
        problems.error(place, "the multipart has no boundary", 'write Content-Type: multipart/mixed; boundary="…"')
        return
    boundary = re.escape(container.boundary.encode("utf-8", "surrogateescape"))
    start: int | None = None
    before, after = data, b""
    for match in re.finditer(rb"^--" + boundary + rb"(--)?[ \t]*\r?(?:\n|\Z)", data, re.MULTILINE):
        if start is None:
            before = data[: match.start()]
        else:
            yield _read_part(data[start : match.start()], place, problems)
        start = match.end()
        if match[1]:
            after = data[start:]
            break
    else:
        message = "the multipart has no end" if start is not None else "the boundary of the multipart is never used"
        problems.warning(place, message, "end it with a line of two dashes, the boundary and two dashes")
        if start is not None:
            yield _read_part(data[start:], place, problems)
    yield from _read_outside((before, after), place, problems)


def _read_outside(texts: tuple[bytes, bytes], place: Place, problems: Problems) -> Iterator[Piece]:
    """Yield what stands outside the parts and is more than an explanation for old mail programs.

    The bootloader found its block in the raw text, wherever it stood (references/ucernvm-boot.md, section 4).
    """
    for text in texts:
        if _SECTION.search(text):
            problems.note(place, "there are sections outside the parts of the multipart", "put them into a part")
            yield Piece("outside", text)


def _read_part(data: bytes, place: Place, problems: Problems) -> Piece:
    """Read the headers of a part and take off its transfer encoding."""
    blank = _BLANK.search(data)
    head, body = (data[: blank.start()], data[blank.end() :]) if blank else (data, b"")
    headers: Message = BytesHeaderParser(policy=compat32).parsebytes(head)
    name = _parameter(headers.get_filename)
    what = f"part {name[:_SHOWN_NAME]!r}" if name else "a part"
    return Piece(
        name=name,
        data=_decode_transfer(body, str(headers.get("content-transfer-encoding", "")), what, place, problems),
        content_type=_read_type(headers),
        charset=_parameter(headers.get_content_charset),
        boundary=_parameter(headers.get_boundary),
        headers=tuple((name.lower(), str(value)) for name, value in headers.items()),
    )


def _parameter(get: Callable[[], object]) -> str:
    """Return a parameter of a header; empty if there is none, or the email package cannot make anything of it."""
    try:
        value = get()
    except ValueError:  # such as a piece of it whose number is longer than Python reads
        return ""
    return value if isinstance(value, str) else ""


def _read_type(headers: Message) -> str:
    """Return the MIME type without anything that does not belong there; empty if none is given."""
    match = _TYPE.match(headers.get_content_type()) if "content-type" in headers else None
    return match.group() if match else ""


def _decode_transfer(body: bytes, encoding: str, what: str, place: Place, problems: Problems) -> bytes:
    """Take off the transfer encoding of a part; `what` names it in a problem."""
    match encoding.strip().lower():
        case "base64":
            try:
                return binascii.a2b_base64(body)
            except binascii.Error:
                problems.error(place, f"the base64 of {what} is damaged or cut short", "encode it again")
                return b""
        case "quoted-printable":
            return quopri.decodestring(body)
        case "" | "7bit" | "8bit" | "binary":
            return body
        case _:
            problems.error(place, f"{what} has an unknown transfer encoding", "use base64, quoted-printable or 8bit")
            return b""
