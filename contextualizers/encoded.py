"""Base64 as people wrap it."""

from __future__ import annotations

from base64 import b64decode


def decode_base64(text: str) -> bytes:
    """Return what base64 with blanks and line ends anywhere stands for; ValueError if it is none."""
    try:
        return b64decode("".join(text.split()), validate=True)
    except ValueError:
        raise ValueError("expected base64, and this is none") from None
