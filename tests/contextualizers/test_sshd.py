"""The SSH server's settings and host keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from contextualizers.sshd import DROPIN, MAIN, SSHD
from tests.contextualizers.ask import ask, furnish
from ucvm_agent.contextualize.actions import RestartUnit, WriteFile
from ucvm_agent.contextualize.system import System

NO = "PasswordAuthentication no\nKbdInteractiveAuthentication no\n"
HEADER = "# Written by ucvm-agent from the user-data.\n"


@pytest.mark.parametrize(
    "text",
    [
        "#cloud-config\nssh_pwauth: false\n",
        "#cloud-config\nssh_pwauth: 'no'\n",
        "[amiconfig]\nplugins=rootsshkeys disablesshpasswdauth\n",
        "[amiconfig]\nplugins=cernvm,DisableSSHPasswdAuth\n",
    ],
)
def test_login_by_password_is_forbidden_in_a_drop_in(text: str, system: System) -> None:
    """By cloud-config and by the amiconfig plugin alike; then the server is restarted, by Debian's name."""
    assert ask(SSHD(), text, system).actions == [
        WriteFile(path=DROPIN, content=f"{HEADER}{NO}".encode(), mode=0o600),
        RestartUnit(unit="ssh.service", because=(DROPIN,)),
    ]


@pytest.mark.parametrize(
    "text", ["#cloud-config\n{}\n", "#cloud-config\nssh_pwauth: unchanged\n", "[amiconfig]\nplugins=cernvm\n"]
)
def test_nothing_is_touched_unless_asked(text: str, system: System) -> None:
    """The image's own settings stay."""
    assert ask(SSHD(), text, system).actions == []


def test_an_old_server_gets_the_settings_where_they_count(tmp_path: Path) -> None:
    """Without drop-ins, they go to the top of the main file, once."""
    system = furnish(tmp_path, {MAIN: "PasswordAuthentication yes\n", "/etc/os-release": "ID=scientific\n"})
    text = "#cloud-config\nssh_pwauth: false\n"
    content = f"{NO}PasswordAuthentication yes\n"
    expected = [
        WriteFile(path=MAIN, content=content.encode()),
        RestartUnit(unit="sshd.service", because=(MAIN,)),
    ]
    assert ask(SSHD(), text, system).actions == expected
    furnish(tmp_path, {MAIN: content})
    assert ask(SSHD(), text, system).actions == expected


def test_host_keys_are_installed_and_stay_secret(system: System) -> None:
    """The private ones are readable for root only and end in a line end; a certificate is announced."""
    answer = ask(
        SSHD(),
        """
        #cloud-config
        ssh_keys:
          ed25519_private: |-
            -----BEGIN OPENSSH PRIVATE KEY-----
            geheim
            -----END OPENSSH PRIVATE KEY-----
          ed25519_public: ssh-ed25519 AAAA host
          ed25519_certificate: ssh-ed25519-cert-v01@openssh.com AAAA host
        """,
        system,
    )
    private, public, certificate, settings, restart = answer.actions
    key = "/etc/ssh/ssh_host_ed25519_key"
    pem = b"-----BEGIN OPENSSH PRIVATE KEY-----\ngeheim\n-----END OPENSSH PRIVATE KEY-----\n"
    assert private == WriteFile(path=key, content=pem, mode=0o600, sensitive=True)
    assert public == WriteFile(path=f"{key}.pub", content=b"ssh-ed25519 AAAA host\n")
    assert (certificate.target, settings.target) == (f"{key}-cert.pub", DROPIN)
    assert isinstance(settings, WriteFile)
    assert settings.content == f"{HEADER}HostCertificate {key}-cert.pub\n".encode()
    assert restart == RestartUnit(unit="ssh.service", because=(key, f"{key}.pub", f"{key}-cert.pub", DROPIN))
    assert "geheim" not in repr(answer)


def test_a_wrong_host_key_is_an_error_that_does_not_show_it(system: System) -> None:
    """The name is told, not the content."""
    answer = ask(SSHD(), "#cloud-config\nssh_keys: {rsa_private: geheim}\nssh_deletekeys: true\n", system)
    assert answer.actions == []
    assert answer.texts == [
        "error 2: ssh_keys: rsa_private is no private key in PEM or OpenSSH format",
        "warning 3: ssh_deletekeys: has no effect: sshd's own service makes the host keys that are missing",
    ]
