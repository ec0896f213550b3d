"""Passwords: plain or hashed, and what shadow(5) holds of them."""

from __future__ import annotations

import re

ROUNDS = 100_000
"""Of SHA-512 for a plain password: 20 times what crypt(3) does by default, for 50 ms at a boot."""

MAX_LENGTH = 4096

_HASH = re.compile(r"\$(1|5|6|y|gy|7|md5|sha1|2[abxy]?)[$,][./A-Za-z0-9$=,]+")
_UNUSABLE = ("*", "!", "!!", "!*", "*LK*")


def is_stored_form(password: str) -> bool:
    """Whether this is what shadow(5) holds: a hash of crypt(5), or a sign that there is no password."""
    return password in _UNUSABLE or _HASH.fullmatch(password) is not None


def demand_password(password: str) -> None:
    """Raise ValueError unless this can be a password; the message does not repeat it."""
    if not password:
        raise ValueError("an empty password would let anybody in")
    if "\0" in password or len(password) > MAX_LENGTH:
        raise ValueError(f"a password has at most {MAX_LENGTH} characters and no NUL among them")


def matches(password: str, stored: str) -> bool:
    """Whether `stored` (without a lock) is this password, which is plain or itself in the stored form."""
    if is_stored_form(password):
        return password == stored
    if not stored.startswith("$"):
        return False
    from passlib.context import CryptContext  # takes longer to import than most plans to be made

    context = CryptContext(["sha512_crypt", "sha256_crypt", "md5_crypt"])
    return context.identify(stored) is not None and bool(context.verify(password, stored))


def to_stored_form(password: str) -> str:
    """Return the password as shadow(5) holds it: hashed, unless it is already."""
    if is_stored_form(password):
        return password
    from passlib.hash import sha512_crypt

    return str(sha512_crypt.using(rounds=ROUNDS).hash(password))
