"""The controller's signing key: made once, private, and never replaced."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.copilot.openssl import openssl
from ucvm_agent.copilot.signing_key import load_or_make
from ucvm_agent.errors import SettingsError


def test_a_key_is_made_once(tmp_path: Path) -> None:
    """Only its owner reads it, nothing else is left in the folder, and the next start has the same."""
    path = tmp_path / "keys" / "signing.pem"
    key = load_or_make(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]
    path.chmod(0o644)
    assert load_or_make(path).private_bytes_raw() == key.private_bytes_raw()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_of_many_that_make_it_one_is_first(tmp_path: Path) -> None:
    """All others take what that one has made."""
    path = tmp_path / "signing.pem"
    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(load_or_make, [path] * 8))
    assert len({key.private_bytes_raw() for key in keys}) == 1


def test_a_key_of_openssl(tmp_path: Path) -> None:
    """An operator may make it."""
    path = tmp_path / "signing.pem"
    path.write_bytes(openssl("genpkey", "-algorithm", "ed25519"))
    load_or_make(path)


def test_a_file_that_is_no_key_stays_as_it_is(tmp_path: Path) -> None:
    """Machines may have pinned what it was."""
    path = tmp_path / "signing.pem"
    for content in (b"", b"garbage", openssl("genrsa", "1024")):
        path.write_bytes(content)
        with pytest.raises(SettingsError, match="not a private key of Ed25519"):
            load_or_make(path)
        assert path.read_bytes() == content
    with pytest.raises(SettingsError, match="cannot be read or made"):
        load_or_make(path / "below")
