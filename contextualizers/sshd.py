"""The SSH server: log in by password or not, and its host keys."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from ucvm_agent.contextualize.actions import RestartUnit, WriteFile, WriteSecretFile
from ucvm_agent.contextualize.base import (
    Action,
    Context,
    Contextualizer,
    Options,
    Problem,
    Reads,
    Secret,
    SecretReference,
    System,
    remark,
)

DROPIN = "/etc/ssh/sshd_config.d/10-ucvm.conf"
MAIN = "/etc/ssh/sshd_config"

_HOST_KEY = re.compile(r"(rsa|dsa|ecdsa|ed25519)_(private|public|certificate)")


def _password_login(value: Any) -> Any:
    if value is None or value == "unchanged":
        return None
    return {"yes": True, "no": False}.get(value, value) if isinstance(value, str) else value


def _host_keys(keys: dict[str, Secret]) -> dict[str, Secret]:
    for name, key in keys.items():
        if not _HOST_KEY.fullmatch(name):
            raise ValueError(f"expected names such as ed25519_private or rsa_public, not {name}")
        if (
            isinstance(key, SecretStr)
            and name.endswith("_private")
            and "PRIVATE KEY-----" not in key.get_secret_value()
        ):
            raise ValueError(f"{name} is no private key in PEM or OpenSSH format")
    return keys


def _words(value: object) -> object:
    """Split `[amiconfig] plugins` at blanks, and at commas too (references/amiconfig.md, section 4)."""
    return re.split(r"[\s,]+", value.strip().lower()) if isinstance(value, str) else value


class SSHDOptions(Options):
    """cloud-init's keys about the server, and the amiconfig plugin `disablesshpasswdauth`."""

    password_login: Annotated[bool | None, BeforeValidator(_password_login), Reads("ssh_pwauth")] = None
    plugins: Annotated[tuple[str, ...], BeforeValidator(_words), Reads("[amiconfig] plugins")] = ()
    host_keys: Annotated[dict[str, Secret], AfterValidator(_host_keys), Reads("ssh_keys")] = Field(default_factory=dict)
    delete_keys: Annotated[bool, Reads("ssh_deletekeys")] = False
    key_types: Annotated[Any, Reads("ssh_genkeytypes")] = None
    quiet_keygen: Annotated[Any, Reads("ssh_quiet_keygen")] = None


class SSHD(Contextualizer[SSHDOptions]):
    """Writes a drop-in file for sshd and the host keys, and lets the server read them.

    A server whose configuration does not include drop-ins gets the settings at the top of its own file: for sshd
    the first value of a setting counts.
    """

    name = "sshd"
    options = SSHDOptions
    early = True
    amiconfig = ("disablesshpasswdauth",)

    def plan(self, options: SSHDOptions, context: Context, system: System) -> Iterable[Action]:
        """Yield host keys, settings, and the restart that they need."""
        files = [*_key_files(options.host_keys), *_settings(options, system)]
        yield from files
        if files:
            unit = "ssh.service" if system.facts.os_id in ("debian", "ubuntu") else "sshd.service"
            yield RestartUnit(unit=unit, because=tuple(file.path for file in files))

    def remarks(self, options: SSHDOptions, context: Context, system: System) -> Iterable[Problem]:
        """Warn of what is not done."""
        hint = "give the host keys with ssh_keys, or remove them in bootcmd"
        for key, asked in (("ssh_deletekeys", options.delete_keys), ("ssh_genkeytypes", options.key_types)):
            if asked:
                yield remark(
                    context, key, "has no effect: sshd's own service makes the host keys that are missing", hint
                )


def _key_files(keys: dict[str, Secret]) -> Iterator[WriteFile | WriteSecretFile]:
    for name, key in keys.items():
        kind, _, part = name.partition("_")
        suffix = {"private": "", "public": ".pub", "certificate": "-cert.pub"}[part]
        private = part == "private"
        path, mode = f"/etc/ssh/ssh_host_{kind}_key{suffix}", 0o600 if private else 0o644
        # OpenSSH refuses a private key without its last line end.
        if isinstance(key, SecretReference):
            yield WriteSecretFile(path=path, source=key, mode=mode, end_line=True)
        else:
            content = f"{key.get_secret_value().strip()}\n".encode()
            yield WriteFile(path=path, content=content, mode=mode, sensitive=private)


def _settings(options: SSHDOptions, system: System) -> Iterator[WriteFile]:
    lines: list[str] = []
    allowed = False if "disablesshpasswdauth" in options.plugins else options.password_login
    if allowed is not None:
        answer = "yes" if allowed else "no"
        lines += [f"PasswordAuthentication {answer}", f"KbdInteractiveAuthentication {answer}"]
    for name in options.host_keys:
        kind, _, part = name.partition("_")
        if part == "certificate":
            lines.append(f"HostCertificate /etc/ssh/ssh_host_{kind}_key-cert.pub")
    if not lines:
        return
    main = (system.read(MAIN) or b"").decode(errors="surrogateescape")
    if main and not re.search(r"^\s*include\s+\S*sshd_config\.d/", main, re.IGNORECASE | re.MULTILINE):
        own = [line for line in lines if line not in main.splitlines()[: len(lines)]]
        text = "".join(f"{line}\n" for line in own) + main
        there = system.status(MAIN)
        mode = there.mode & 0o7777 if there else 0o600
        yield WriteFile(path=MAIN, content=text.encode(errors="surrogateescape"), mode=mode)
    else:
        text = "# Written by ucvm-agent from the user-data.\n" + "".join(f"{line}\n" for line in lines)
        yield WriteFile(path=DROPIN, content=text.encode(), mode=0o600)
