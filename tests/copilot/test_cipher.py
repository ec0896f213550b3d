"""The ciphers of secure mode against the reference's vector, and against the `openssl` program in both directions."""

from __future__ import annotations

from base64 import b64decode, encodebytes
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.copilot.conftest import Pair
from tests.copilot.openssl import openssl
from ucvm_agent import salted
from ucvm_agent.copilot.cipher import decrypt, decrypt_key, encrypt, encrypt_key

PASSPHRASE = b"0123456789abcdef0123456789abcdef"
XML = b"<info command='_BASE64:aGF2ZVN0YXR1cw=='/>"
SEALED = "U2FsdGVkX19BQkNERUZHSI85HIQWf+0fcXnK1WQ0T9e5pXrn9Rn+dX2u5juDaDihlJJSx/eyuR7Hg8MOOC9nWT+fbDd3zw4Jv0GwCI4Ag/M="
AES = ("enc", "-aes-256-cbc", "-md", "md5", "-pass", f"pass:{PASSPHRASE.decode()}")
OAEP = ("-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt", "rsa_oaep_md:sha1", "-pkeyopt", "rsa_mgf1_md:sha1")


def test_the_vector_of_the_reference() -> None:
    """Key, initial vector and output, to the byte."""
    key, vector = salted.derive(salted.md5, PASSPHRASE, b"ABCDEFGH")
    assert key.hex() == "9e4dd426216fa5c75974987947db4379a8579b9aa70f2c3e41ba5d9774f7f9e2"
    assert vector.hex() == "cb32151374da8145190fe239f8b44737"
    assert encrypt(encodebytes(XML), PASSPHRASE, b"ABCDEFGH") == b64decode(SEALED)
    assert decrypt(b64decode(SEALED), PASSPHRASE) == encodebytes(XML)


@given(st.binary(), st.binary(max_size=40), st.binary(min_size=8, max_size=8))
def test_what_was_encrypted_can_be_decrypted(plain: bytes, passphrase: bytes, salt: bytes) -> None:
    """Whatever it is, whatever the passphrase."""
    assert decrypt(encrypt(plain, passphrase, salt), passphrase) == plain


@given(st.binary(), st.sampled_from([b"", b"Salted__", b"Salted__ABCDEFGH"]))
def test_garbage_is_a_value_error(data: bytes, head: bytes) -> None:
    """Or, once in a while, garbage."""
    with suppress(ValueError):
        decrypt(head + data, PASSPHRASE)


@pytest.mark.parametrize("plain", [b"", b"x" * 16, bytes(range(256)) * 40])
def test_messages_against_openssl(plain: bytes) -> None:
    """It reads what we write, and we what it writes."""
    ours = encrypt(plain, PASSPHRASE, b"\x00\n\xff<salt")
    assert openssl(*AES, "-d", data=ours) == plain
    assert decrypt(openssl(*AES, data=plain), PASSPHRASE) == plain


def test_session_keys_against_openssl(manager: Pair, tmp_path: Path) -> None:
    """Both ways, with the shortest key that is in use."""
    key = encodebytes(bytes(range(32)))
    sealed = tmp_path / "sealed"
    sealed.write_bytes(encrypt_key(key, manager.public))
    assert openssl("pkeyutl", "-decrypt", "-inkey", manager.private_file, "-in", sealed, *OAEP) == key
    theirs = openssl("pkeyutl", "-encrypt", "-inkey", manager.private_file, *OAEP, data=key)
    assert decrypt_key(theirs, manager.private) == key


@given(st.binary() | st.binary(min_size=128, max_size=128))
def test_a_damaged_session_key_is_a_value_error(manager: Pair, data: bytes) -> None:
    """Of whatever length."""
    with pytest.raises(ValueError):  # noqa: PT011 - the text is the library's
        decrypt_key(data, manager.private)
