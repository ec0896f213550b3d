"""Certificate authorities that the system trusts: `ca_certs` of cloud-config."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator

from ucvm_agent.contextualize.actions import RunCommand, WriteFile
from ucvm_agent.contextualize.base import (
    Action,
    Context,
    Contextualizer,
    Nested,
    Options,
    Problem,
    Reads,
    System,
    remark,
)

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----\s[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")


def _certificates(text: str) -> str:
    if "PRIVATE KEY" in text:
        raise ValueError("expected a certificate, found a private key: it is no secret any more, make a new pair")
    if not _PEM.search(text) or _PEM.sub("", text).strip():
        raise ValueError("expected certificates in PEM format")
    return f"{text.strip()}\n"


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value or []


class Trust(Nested):
    """`ca_certs`."""

    trusted: Annotated[tuple[Annotated[str, AfterValidator(_certificates)], ...], BeforeValidator(_listed)] = ()
    remove_defaults: bool = False


class CertificatesOptions(Options):
    """cloud-init's key, in both of its spellings."""

    trust: Annotated[Trust, Reads("ca_certs", "ca-certs")] = Trust()


class Certificates(Contextualizer[CertificatesOptions]):
    """Puts the certificates where the distribution's own tool takes them from, and runs that tool."""

    name = "certificates"
    options = CertificatesOptions

    def plan(self, options: CertificatesOptions, context: Context, system: System) -> Iterable[Action]:
        """Yield a file for each certificate, and the command."""
        folder, command = "/usr/local/share/ca-certificates", "update-ca-certificates"
        if system.status("/etc/pki/ca-trust"):
            folder, command = "/etc/pki/ca-trust/source/anchors", "update-ca-trust"
        files = [
            WriteFile(path=f"{folder}/ucvm-{number}.crt", content=text.encode())
            for number, text in enumerate(options.trust.trusted, start=1)
        ]
        yield from files
        if files and system.program(command):
            yield RunCommand(argv=(command,), timeout=300.0, because=tuple(file.path for file in files))

    def remarks(self, options: CertificatesOptions, context: Context, system: System) -> Iterable[Problem]:
        """Warn of what is not done."""
        if options.trust.remove_defaults:
            path = (*options.trust.origin, "remove_defaults")
            yield remark(context, path, "has no effect: the image's own certificates stay")
