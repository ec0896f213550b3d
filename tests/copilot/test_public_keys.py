"""The file of public keys, as the original's key tools write it, and damaged."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.copilot.conftest import Pair, make_pair
from tests.copilot.openssl import openssl
from ucvm_agent.copilot.public_keys import read_private_key, read_public_keys
from ucvm_agent.errors import SettingsError


def test_a_key_is_found_by_full_jid_and_then_by_account(manager: Pair, key_manager: Pair, tmp_path: Path) -> None:
    """Every getJob goes to a full JID."""
    one, other = manager.public_file.read_text(), key_manager.public_file.read_text()
    path = tmp_path / "keys"
    path.write_text(f"# ours\n\njm@site.example\n{one}jm@site.example/beta\r\n{other}\n")
    keys = read_public_keys(path)
    assert keys.find("jm@site.example") == keys.find("jm@site.example/alpha") == manager.public
    assert keys.find("jm@site.example/beta") == key_manager.public
    assert keys.find("sm@site.example") is None


def test_a_key_without_an_end_is_an_error(manager: Pair, tmp_path: Path) -> None:
    """It kept the original busy for ever."""
    path = tmp_path / "keys"
    text = manager.public_file.read_text()
    for cut in ("", text[: len(text) // 2], text.replace("RSA PUBLIC", "PUBLIC")):
        path.write_text(f"jm@site.example\n{cut}\nsm@site.example\n{text}")
        with pytest.raises(SettingsError, match=r"the key of jm@site.example lacks"):
            read_public_keys(path)


@given(
    st.lists(st.sampled_from(["a@b", "-----BEGIN RSA PUBLIC KEY-----", "-----END RSA PUBLIC KEY-----", "MIGJ", "µ"]))
)
def test_no_file_does_harm(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    """It is read, or is an error of ours."""
    path = tmp_path_factory.getbasetemp() / "hostile"
    path.write_text("\n".join(lines))
    with suppress(SettingsError):
        read_public_keys(path)


def test_private_keys(tmp_path: Path) -> None:
    """In either form; what is none says so without repeating it."""
    pair = make_pair(tmp_path, "a", 2048)
    modern = openssl("pkcs8", "-topk8", "-nocrypt", "-in", pair.private_file)
    path = tmp_path / "modern"
    path.write_bytes(modern)
    assert read_private_key(path).public_key() == pair.public
    path.write_bytes(modern.replace(b"A", b"B"))
    with pytest.raises(SettingsError, match="not a private key"):
        read_private_key(path)
    path.write_bytes(openssl("genpkey", "-algorithm", "ed25519"))
    with pytest.raises(SettingsError, match="not a key for RSA"):
        read_private_key(path)
    with pytest.raises(SettingsError, match="No such file"):
        read_private_key(tmp_path / "absent")
