"""SHA-256 of files. It blocks: call it in a thread."""

from __future__ import annotations

import hashlib
from typing import Protocol

_CHUNK = 2**20


class Readable(Protocol):
    """What bytes come from."""

    def read(self, size: int, /) -> bytes:
        """Return at most so many bytes, none at the end."""


def sha256_of(file: Readable) -> str:
    """Return the checksum of what is left of an open file, in hexadecimal digits.

    Raises:
        OSError: it cannot be read.
    """
    checksum = hashlib.sha256()
    while data := file.read(_CHUNK):
        checksum.update(data)
    return checksum.hexdigest()
