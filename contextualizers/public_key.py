"""OpenSSH public keys as people paste them: `[options] type base64 [comment]` (sshd(8), authorized_keys)."""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator

_KEY = re.compile(r"(?:^|\s)((?:ssh|ecdsa|sk)-[A-Za-z0-9@.-]+)\s+([A-Za-z0-9+/]+=*)(?=\s|$)")


def check_key(line: str) -> str:
    """Return the line if it is one public key.

    Raises:
        ValueError: it is not; the message does not repeat it, since private keys are pasted here as well.
    """
    line = line.strip()
    if "PRIVATE KEY" in line:
        raise ValueError("expected a public key, found a private one: it is no secret any more, make a new pair")
    if any(ord(character) < 32 and character != "\t" for character in line):
        raise ValueError("expected one public key on one line")
    for kind, blob in _KEY.findall(line):
        try:
            data = b64decode(blob, validate=True)
        except Error:
            continue
        # The blob begins with its own type, as a length of four bytes and the name (RFC 4253, section 6.6).
        if data[4 : 4 + int.from_bytes(data[:4])] == kind.encode() and len(data) > 4 + len(kind):
            return line
    raise ValueError("expected a public key such as `ssh-ed25519 AAAA… name`; this one is damaged or cut")


def _split_lines(value: object) -> object:
    if value is None:
        return []
    return [line for line in value.splitlines() if line.strip()] if isinstance(value, str) else value


PublicKey = Annotated[str, AfterValidator(check_key)]
PublicKeys = Annotated[tuple[PublicKey, ...], BeforeValidator(_split_lines)]
"""A list of keys, or one text with a key on each line."""
