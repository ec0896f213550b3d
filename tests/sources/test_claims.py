"""What platforms claim is checked, and never makes the agent fail."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.servers.imds import KEY
from ucvm_agent.sources.claims import sound_addresses, sound_hostname, sound_instance_id, sound_keys


@given(st.lists(st.text()))
def test_no_text_makes_the_checks_fail(lines: list[str]) -> None:
    """Whatever comes, they return what they take, and take it again unchanged."""
    keys, addresses = sound_keys(lines), sound_addresses(lines)
    assert sound_keys(keys) == keys
    assert sound_addresses(addresses) == addresses
    for line in lines:
        assert sound_hostname(sound_hostname(line)) == sound_hostname(line)
        assert sound_instance_id(sound_instance_id(line)) == sound_instance_id(line)


@given(st.text(alphabet=st.characters(codec="ascii", exclude_characters='"')))
def test_options_never_pass_with_a_key(options: str) -> None:
    """What is returned begins with the kind of the key and is one line."""
    for key in sound_keys([f'command="{options}" {KEY}', f"{options} {KEY}"]):
        assert key.startswith(("ssh-", "ecdsa-", "sk-"))
        assert "\n" not in key


def test_key_has_to_hold_what_it_says() -> None:
    """A kind that the blob does not name is not a key."""
    assert sound_keys([KEY.replace("ssh-ed25519", "ssh-rsa"), "ssh-rsa AAAA", "ssh-rsa"]) == ()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("ip-10-0-0-7.ec2.internal", "ip-10-0-0-7.ec2.internal"),
        ("vm.example.org. other", "vm.example.org"),
        ("-vm", ""),
        ("vm_1", ""),
        ("a" * 64, ""),
        ("", ""),
        ("<html>", ""),
    ],
)
def test_host_name_is_the_first_sound_name(text: str, name: str) -> None:
    """RFC 1123."""
    assert sound_hostname(text) == name


def test_addresses_are_normal_and_unique() -> None:
    """Both families, in their usual form."""
    assert sound_addresses(["10.0.0.7", " 10.0.0.7", "2001:DB8::0:7", "300.1.1.1", ""]) == ("10.0.0.7", "2001:db8::7")
