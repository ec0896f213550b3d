"""The private key by which a controller signs its orders: a file that only its owner reads."""

from __future__ import annotations

from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from ucvm_agent.errors import SettingsError
from ucvm_agent.files.private_file import make, tighten


def load_or_make(path: Path) -> Ed25519PrivateKey:
    """Return the key in a file (PEM, PKCS#8); make it (0600) if it is not there.

    Of two processes that make it at the same time, both return the key of the one that was first.

    Raises:
        SettingsError: the file cannot be read or made, or holds something else.
    """
    try:
        if not path.exists():
            _make(path)
        tighten(path)
        return _read(path)
    except OSError as error:
        raise SettingsError(f"the signing key cannot be read or made: {error.strerror}", where=str(path)) from error


def _read(path: Path) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        hint = "move it away to have a new one made; machines that have pinned the old one must forget it"
        raise SettingsError("not a private key of Ed25519 in PEM without passphrase", where=str(path), hint=hint)
    return key


def _make(path: Path) -> None:
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    make(path, pem)
