"""The two ciphers of the original's secure mode: AES for messages, RSA for session keys.

References/copilot-protocol.md, sections 6.2 and 6.3. Nothing here authenticates anything; the original has no means
to. For orders that have to be authentic there are signatures, see `signature.py`.
"""

from __future__ import annotations

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from ucvm_agent import salted


def encrypt(plain: bytes, passphrase: bytes, salt: bytes) -> bytes:
    """Return what `openssl enc -aes-256-cbc -md md5` makes of `plain`.

    Arguments:
        salt: eight bytes, others for each message.
    """
    padder = PKCS7(algorithms.AES.block_size).padder()
    encryptor = _aes(passphrase, salt).encryptor()
    padded = padder.update(plain) + padder.finalize()
    return salted.MARK + salt + encryptor.update(padded) + encryptor.finalize()


def decrypt(sealed: bytes, passphrase: bytes) -> bytes:
    """Undo `encrypt`.

    Raises:
        ValueError: it is damaged, or the passphrase is another one.
    """
    salt, ciphertext = salted.split(sealed)
    decryptor = _aes(passphrase, salt).decryptor()
    unpadder = PKCS7(algorithms.AES.block_size).unpadder()
    return unpadder.update(decryptor.update(ciphertext) + decryptor.finalize()) + unpadder.finalize()


def _aes(passphrase: bytes, salt: bytes) -> Cipher[modes.CBC]:
    key, vector = salted.derive(salted.md5, passphrase, salt)
    return Cipher(algorithms.AES(key), modes.CBC(vector))


def encrypt_key(key: bytes, recipient: RSAPublicKey) -> bytes:
    """Encrypt a few bytes that only the recipient is to read."""
    return recipient.encrypt(key, _oaep())


def decrypt_key(encrypted: bytes, recipient: RSAPrivateKey) -> bytes:
    """Undo `encrypt_key`.

    Raises:
        ValueError: it is damaged, or for somebody else.
    """
    return recipient.decrypt(encrypted, _oaep())


def _oaep() -> OAEP:
    # What the original's library did by default until 2024, and nothing else is understood there.
    sha1 = hashes.SHA1()  # noqa: S303 - as the original does
    return OAEP(MGF1(sha1), sha1, label=None)
