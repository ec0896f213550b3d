"""Who gets the keys of the platform and of the context."""

from __future__ import annotations

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contextualizers.public_key import check_key
from contextualizers.ssh_keys import SSHKeys
from tests.contextualizers.ask import KEY, OTHER_KEY, ask
from ucvm_agent.contextualize.actions import AuthorizeKeys
from ucvm_agent.contextualize.system import System
from ucvm_agent.sources.base import Metadata

PLATFORM = Metadata(public_keys=(KEY,))


@pytest.mark.parametrize(
    ("keys", "users"),
    [
        ("{}", ["root"]),
        ("users: [alice]", ["root"]),
        ("users: [default, alice]", ["root", "debian"]),
        ("user: me", ["root", "me"]),
        ("disable_root: true", ["debian"]),
        ("{disable_root: true, users: [default]}", ["debian"]),
        ("{disable_root: true, users: [alice]}", []),
        ("allow_public_ssh_keys: false", []),
    ],
)
def test_keys_go_to_root_and_to_the_default_user_if_there_is_one(keys: str, users: list[str], system: System) -> None:
    """`disable_root` leaves root out."""
    answer = ask(SSHKeys(), f"#cloud-config\n{keys}\n", system, PLATFORM)
    assert answer.actions == [AuthorizeKeys(user=user, keys=(KEY,)) for user in users]
    assert answer.texts == []


def test_keys_of_platform_and_context_come_together_once(system: System) -> None:
    """A key that both give is there once; one text may hold several."""
    text = f"#cloud-config\nssh_authorized_keys: |\n  {OTHER_KEY}\n  {KEY}\n"
    assert ask(SSHKeys(), text, system, PLATFORM).actions == [AuthorizeKeys(user="root", keys=(KEY, OTHER_KEY))]


def test_what_is_no_key_is_an_error_and_never_repeated(system: System) -> None:
    """A private key that was pasted by mistake is not shown again."""
    text = f"""
        #cloud-config
        ssh_authorized_keys:
          - {KEY}
          - "-----BEGIN OPENSSH PRIVATE KEY----- geheim"
          - ssh-rsa AAAAgeheim
    """
    answer = ask(SSHKeys(), text, system, Metadata(public_keys=("<html>not found</html>",)))
    assert answer.actions == [AuthorizeKeys(user="root", keys=(KEY,))]
    assert [text.partition(",")[0] for text in answer.texts] == [
        "error 4: ssh_authorized_keys[2]: expected a public key",
        "error 5: ssh_authorized_keys[3]: expected a public key",
    ]
    assert "geheim" not in str(answer.problems)


def test_a_key_that_is_refused_takes_no_other_with_it(system: System) -> None:
    """Whatever cannot be authorized is refused by itself: a key after prose, or of a type that sshd does not know."""
    unknown = b64encode(len(b"ssh-foo").to_bytes(4) + b"ssh-foo" + b"key").decode()
    tabs = OTHER_KEY.replace(" ", "\t")
    text = f"#cloud-config\nssh_authorized_keys: ['my key: {KEY}', ssh-foo {unknown}, \"{tabs}\", {KEY}]\n"
    answer = ask(SSHKeys(), text, system)
    assert answer.actions == [AuthorizeKeys(user="root", keys=(OTHER_KEY, KEY))]
    assert [text.partition(" such")[0] for text in answer.texts] == [
        "error 2: ssh_authorized_keys[1]: expected a public key",
        "error 2: ssh_authorized_keys[2]: expected a public key",
    ]


@given(
    st.sampled_from(["ssh-rsa", "ecdsa-sha2-nistp256", "sk-ssh-ed25519@openssh.com"]),
    st.binary(min_size=1, max_size=600),
    st.sampled_from(["", 'from="10.0.0.0/8,*.example.org",command="echo \\"a b\\"" ', "no-pty "]),
    st.sampled_from(["", " alice", " a comment with blanks"]),
)
def test_every_real_key_is_accepted(kind: str, body: bytes, options: str, comment: str) -> None:
    """With options and comments, of every kind."""
    blob = b64encode(len(kind).to_bytes(4) + kind.encode() + body).decode()
    line = f"{options}{kind} {blob}{comment}"
    assert check_key(line) == line.strip()


@given(st.text())
def test_any_other_text_is_refused_in_order(text: str) -> None:
    """Nothing but a ValueError comes of it."""
    with pytest.raises(ValueError, match="expected"):
        check_key(text)
