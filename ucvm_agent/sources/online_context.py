"""What CernVM Online gives out, byte by byte: tickets, checksums, ciphers, context files.

Everything here is a function of its arguments (references/cernvm-online.md, sections 1 to 4). Who speaks to the
service is `online_service.py`.
"""

from __future__ import annotations

import hashlib
import re
from binascii import a2b_base64
from dataclasses import dataclass, field

from ucvm_agent import salted
from ucvm_agent.errors import SourceRefused
from ucvm_agent.sources.base import MAX_BODY
from ucvm_agent.sources.claims import sound_keys

ENCRYPTED = b"ENCRYPTED:"
"""What stands before the base64 of an encrypted context."""

MAX_KEYS = 1000
"""Most keys of a context file (section 7)."""
MAX_KEY = 100
"""Most characters of a key."""
MAX_NAME = 100
"""Most characters of a context's name that are shown."""

AGAIN = "type the secret again; if it is right, save the context again at CernVM Online"

_PIN = re.compile(r"[0-9]{6}")
_CONTEXT_ID = re.compile(r"[0-9a-f]{32}")
_KEY = re.compile(rb"([A-Za-z0-9_-]+)=(.*)")
_USER_DATA = re.compile(rb"^EC2_USER_DATA=", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a context is asked for with: a PIN, or the id of the context. Whoever has it may get the context.

    Arguments:
        text: six digits, or 32 hexadecimal ones in lower case.
    """

    text: str = field(repr=False)

    @classmethod
    def parse(cls, typed: str) -> Ticket:
        """Read a PIN or a context id as people type it, with blanks and dashes.

        Raises:
            ValueError: it is neither.
        """
        text = re.sub(r"[\s-]", "", typed).lower()
        if not _PIN.fullmatch(text) and not _CONTEXT_ID.fullmatch(text):
            raise ValueError("expected a PIN of 6 digits, or a context id of 32 hexadecimal digits")
        return cls(text)

    @property
    def is_pin(self) -> bool:
        """Whether this is a PIN, which serves once."""
        return len(self.text) == 6

    @property
    def is_encrypted(self) -> bool | None:
        """Whether the context is encrypted, as its PIN tells by its last digit; an id does not tell."""
        return int(self.text[-1]) % 2 == 1 if self.is_pin else None

    @property
    def fingerprint(self) -> str:
        """Eight digits that stand for the ticket where people see it."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:8]

    def checksum(self, secret: str) -> str:
        """Return the proof that we know the secret (section 2); a secret itself, since it can be guessed from."""
        salt = _salt(self.text)
        return hashlib.sha1((salt + secret + salt).encode(), usedforsecurity=False).hexdigest()


def _salt(text: str) -> str:
    """Add the first four digits; a position without one counts 1, 2, 3 or 4."""
    digits = [int(character) for character in text if character in "0123456789"][:4]
    return f"{sum(digits) + sum(range(len(digits) + 1, 5)):02}"


@dataclass(frozen=True, slots=True)
class OnlineContext:
    """A context file.

    Arguments:
        name: for people; it is somebody's text.
        user_data: decoded.
        root_keys: public keys of root.
    """

    name: str
    user_data: bytes = field(repr=False)
    root_keys: tuple[str, ...] = ()


def read_context(text: bytes) -> OnlineContext:
    """Read a context file that is not encrypted (section 3).

    Raises:
        SourceRefused: it lacks its user-data, or is damaged.
    """
    keys: dict[str, bytes] = {}
    for line in text.split(b"\n"):
        if (match := _KEY.fullmatch(line.removesuffix(b"\r"))) is not None and len(match[1]) <= MAX_KEY:
            keys[match[1].decode()] = match[2]
            if len(keys) > MAX_KEYS:
                raise SourceRefused(f"the context has more than {MAX_KEYS} keys")
    if "EC2_USER_DATA" not in keys:
        raise SourceRefused("this is no context: it lacks EC2_USER_DATA", hint="save it again at CernVM Online")
    user_data = _decoded(keys["EC2_USER_DATA"], "EC2_USER_DATA")
    if len(user_data) > MAX_BODY:
        raise SourceRefused(f"the user-data has more than the {MAX_BODY} bytes that are read")
    root_keys = _decoded(keys.get("ROOT_PUBKEY", b""), "ROOT_PUBKEY").decode(errors="replace").splitlines()
    name = keys.get("VM_CONTEXT_NAME", b"").decode(errors="replace").strip()
    return OnlineContext(
        name="".join(filter(str.isprintable, re.sub(r'^"(.*)"$', r"\1", name)))[:MAX_NAME],
        user_data=user_data,
        root_keys=sound_keys(root_keys),
    )


def _decoded(value: bytes, key: str) -> bytes:
    try:
        return _from_base64(value)
    except ValueError:
        message = f"the context is damaged: {key} is no base64"
        raise SourceRefused(message, hint="save it again at CernVM Online") from None


def _from_base64(text: bytes) -> bytes:
    return a2b_base64(b"".join(text.split()), strict_mode=True)


def decrypt(text: bytes, secret: str) -> bytes:
    """Return the context file that is in an encrypted one (section 4).

    The cipher has no integrity check: what is no sound context file came from another secret, or was changed.
    Both digests are tried that OpenSSL has had as its default for the key.

    Raises:
        SourceRefused: the secret is wrong, or the file is damaged.
    """
    try:
        data = _from_base64(text.removeprefix(ENCRYPTED))
    except ValueError:
        raise SourceRefused("the encrypted context is damaged: no base64", hint=AGAIN) from None
    try:
        salt, ciphertext = salted.split(data)
    except ValueError as error:
        raise SourceRefused(f"the encrypted context is damaged: {error}", hint=AGAIN) from None
    for digest in (salted.md5, salted.sha256):
        plain = _decipher(ciphertext, *salted.derive(digest, secret.encode(), salt))
        if _is_context(plain):
            return plain
    raise SourceRefused("wrong secret, or a damaged context", hint=AGAIN)


def _is_context(plain: bytes) -> bool:
    if _USER_DATA.search(plain) is None:
        return False
    try:
        plain.decode()
        read_context(plain)
    except (UnicodeDecodeError, SourceRefused):
        return False
    return True


def _decipher(data: bytes, key: bytes, vector: bytes) -> bytes:
    # Slow to import, and only for encrypted contexts. Old releases have the mode among the others.
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

    try:
        from cryptography.hazmat.decrepit.ciphers.modes import CFB8
    except ImportError:
        from cryptography.hazmat.primitives.ciphers.modes import CFB8

    decryptor = Cipher(algorithms.AES(key), CFB8(vector)).decryptor()
    return decryptor.update(data) + decryptor.finalize()
