"""Public keys as people paste them."""

from __future__ import annotations

import time

import pytest

from ucvm_agent.public_key import parse_public_key

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDSfs8iKl8r6ozFVXZDJZsmk2n0SjUpNHyZ4Vv7h5v0V"


@pytest.mark.parametrize("options", ["", "no-pty ", r'command="echo \"a b\"",no-pty '])
def test_options_are_told_from_the_key(options: str) -> None:
    """Spaces and escaped quotes in a quotation are part of an option."""
    assert parse_public_key(f"{options}{KEY} me").bare == f"{KEY} me"


@pytest.mark.parametrize("text", ['"' + '\\"' * 500_000, "a" * 1_000_000, '"' * 1_000_001, "a " * 500_000])
def test_what_is_no_key_is_refused_quickly(text: str) -> None:
    """However long it is, and whatever quotes it has."""
    begin = time.process_time()
    with pytest.raises(ValueError, match="expected a public key"):
        parse_public_key(text)
    assert time.process_time() - begin < 5
