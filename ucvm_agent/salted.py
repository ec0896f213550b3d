"""The framing of `openssl enc`: `Salted__`, eight bytes of salt, the ciphertext; a passphrase makes key and vector."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

MARK = b"Salted__"
SALT_BYTES = 8


def split(data: bytes) -> tuple[bytes, bytes]:
    """Return salt and ciphertext.

    Raises:
        ValueError: there is no salt.
    """
    start = len(MARK) + SALT_BYTES
    if not data.startswith(MARK) or len(data) < start:
        raise ValueError("no salt")
    return data[len(MARK) : start], data[start:]


def derive(digest: Callable[[bytes], bytes], secret: bytes, salt: bytes) -> tuple[bytes, bytes]:
    """Return the key (32 bytes) and the initial vector (16) as OpenSSL's EVP_BytesToKey does with one iteration."""
    block = derived = b""
    while len(derived) < 48:
        block = digest(block + secret + salt)
        derived += block
    return derived[:32], derived[32:48]


def md5(data: bytes) -> bytes:
    """Return the digest that old releases of OpenSSL derive keys with, …"""
    return hashlib.md5(data, usedforsecurity=False).digest()


def sha256(data: bytes) -> bytes:
    """… and the one of releases since 1.1.0."""
    return hashlib.sha256(data).digest()
