"""OpenSSH public keys as platforms and people give them: `[options] type base64 [comment]` (sshd(8))."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from itertools import islice

_TYPE = re.compile(
    r"(ssh-(rsa|dss|ed25519|ed448)|ecdsa-sha2-nistp(256|384|521)|sk-(ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com"
    r"|[a-z0-9-]+-cert-v01@openssh\.com)"
)
_WORD = re.compile(r'(?:"[^"\\]*(?:\\.[^"\\]*)*"|[^\s"]+)+')


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A line of authorized_keys.

    Arguments:
        line: all of it, options and comment included.
        bare: the line without its options.
        blob: the key itself.
    """

    line: str
    bare: str
    blob: bytes


def parse_public_key(line: str) -> PublicKey:
    """Read a line: `[options] type base64 [comment]`.

    Raises:
        ValueError: it is no public key; the message does not repeat it, since private keys are pasted here as well.
    """
    text = line.strip().translate({ord("\t"): " ", 0xA0: " "})  # what is pasted from web pages
    if "PRIVATE KEY" in text:
        raise ValueError("expected a public key, found a private one: it is no secret any more, make a new pair")
    if not text.isprintable():
        raise ValueError("expected a public key on one line of printable characters")
    words = list(islice(_WORD.finditer(text), 3))
    at = next((number for number, word in enumerate(words[:2]) if _TYPE.fullmatch(word[0])), None)
    if at is None or len(words) < at + 2:
        raise ValueError("expected a public key such as `ssh-ed25519 AAAA… comment`")
    kind = words[at][0]
    try:
        blob = base64.b64decode(words[at + 1][0], validate=True)
    except binascii.Error:
        raise ValueError(f"expected a public key, and the base64 of this {kind} is damaged") from None
    # The blob begins with its own type, as a length of four bytes and the name (RFC 4253, section 6.6).
    length = int.from_bytes(blob[:4], "big")
    if blob[4 : 4 + length] != kind.encode() or len(blob) <= 4 + length:
        raise ValueError(f"expected a public key, and what this {kind} holds is cut off or of another type")
    return PublicKey(text, text[words[at].start() :], blob)
