"""Our lines in a text file that others write to as well: a block between two comments, replaced as a whole.

Only the block is ever touched, so that what people and scripts write around it stays. A new block goes to the end
of the file, where the last assignment of a variable counts; one that is there stays in its place.
"""

from __future__ import annotations

import re


def put_block(text: bytes, name: str, lines: bytes) -> bytes:
    """Return the text with these lines in the block of this name, or without the block if there are none."""
    begin, end = (f"# {edge} of {name}, written by ucvm-agent\n".encode() for edge in ("begin", "end"))
    block = begin + lines + end if lines else b""
    pattern = rb"^%s(?:.*\n)*?%s" % (re.escape(begin), re.escape(end))
    if match := re.search(pattern, text, re.MULTILINE):
        return text[: match.start()] + block + text[match.end() :]
    separator = b"\n" if block and text and not text.endswith(b"\n") else b""
    return text + separator + block
