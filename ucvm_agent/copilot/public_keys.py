"""The RSA keys of Co-Pilot components: the file of public keys by JID, and a component's own private key.

References/copilot-protocol.md, section 6.3.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from ucvm_agent.copilot.stanza import bare
from ucvm_agent.errors import SettingsError

LEAST_BITS = 696
"""Of a key that a session key can be encrypted with: 45 bytes and the padding."""

_BEGIN = "-----BEGIN RSA PUBLIC KEY-----"
_END = "-----END RSA PUBLIC KEY-----"


class PublicKeys:
    """The public keys of components, by JID."""

    def __init__(self, keys: Mapping[str, RSAPublicKey]) -> None:
        self._keys = dict(keys)

    def find(self, jid: str) -> RSAPublicKey | None:
        """Return the key of a component: that of its full JID, or else of its account; None if it is not known."""
        return self._keys.get(jid) or self._keys.get(bare(jid))


def read_public_keys(path: Path) -> PublicKeys:
    """Read the file of public keys: lines with a JID, each before a key in PEM (PKCS#1).

    Raises:
        SettingsError: it cannot be read, or a key of it cannot be used.
    """
    return PublicKeys(dict(_keys(_text(path), str(path))))


def read_private_key(path: Path) -> RSAPrivateKey:
    """Read a component's private key, PEM without a passphrase.

    Raises:
        SettingsError: it cannot be read or used.
    """
    try:
        key = load_pem_private_key(_text(path).encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise SettingsError("not a private key in PEM without passphrase", where=str(path)) from None
    if not isinstance(key, RSAPrivateKey):
        raise SettingsError("not a key for RSA", where=str(path), hint="make one by `openssl genrsa -traditional 2048`")
    return key


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError as error:
        raise SettingsError(f"cannot be read: {error.strerror}", where=str(path)) from None


def _keys(text: str, path: str) -> Iterator[tuple[str, RSAPublicKey]]:
    jid = ""
    pem: list[str] = []
    for number, line in enumerate(map(str.strip, text.splitlines()), start=1):
        if "@" in line:
            _check_ended(jid, pem, path)
            jid, pem = line, []
        elif jid and line and (pem or line == _BEGIN):
            pem.append(line)
            if line == _END:
                yield jid, _key("\n".join(pem), f"{path}, line {number}")
                jid, pem = "", []
    _check_ended(jid, pem, path)


def _check_ended(jid: str, pem: list[str], path: str) -> None:
    if jid:
        missing = f"`{_END}`" if pem else f"`{_BEGIN}`"
        hint = "write the key with `openssl rsa -RSAPublicKey_out`"
        raise SettingsError(f"the key of {jid} lacks its line {missing}", where=path, hint=hint)


def _key(pem: str, where: str) -> RSAPublicKey:
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise SettingsError("the key that ends here is damaged", where=where) from None
    if not isinstance(key, RSAPublicKey) or key.key_size < LEAST_BITS:
        raise SettingsError(f"the key that ends here has less than {LEAST_BITS} bits", where=where)
    return key
