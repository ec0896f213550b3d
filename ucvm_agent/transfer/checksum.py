"""SHA-256 of files. It blocks: call it in a thread."""

from __future__ import annotations

import hashlib
from typing import IO

_CHUNK = 2**20


def sha256_of(file: IO[bytes]) -> str:
    """Return the checksum of what is left of an open file, in hexadecimal digits.

    Raises:
        OSError: it cannot be read.
    """
    checksum = hashlib.sha256()
    while data := file.read(_CHUNK):
        checksum.update(data)
    return checksum.hexdigest()
