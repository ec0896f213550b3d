"""Certificate authorities."""

from __future__ import annotations

from pathlib import Path

from contextualizers.certificates import Certificates
from tests.contextualizers.ask import ask, furnish
from ucvm_agent.contextualize.actions import RunCommand, WriteFile
from ucvm_agent.contextualize.system import System

PEM = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
TEXT = """
    #cloud-config
    ca_certs:
      trusted:
        - |
          -----BEGIN CERTIFICATE-----
          AAAA
          -----END CERTIFICATE-----
"""


def test_certificates_are_put_where_the_distribution_takes_them(tmp_path: Path, system: System) -> None:
    """And its tool is run, again if they change."""
    furnish(tmp_path, {"/usr/sbin/update-ca-certificates": ""})
    file, command = ask(Certificates(), TEXT, system).actions
    assert file == WriteFile(path="/usr/local/share/ca-certificates/ucvm-1.crt", content=PEM.encode())
    assert command == RunCommand(argv=("update-ca-certificates",), timeout=300.0, because=(file.target,))

    furnish(tmp_path, {"/etc/pki/ca-trust/README": "", "/usr/bin/update-ca-trust": ""})
    file, command = ask(Certificates(), TEXT.replace("ca_certs", "ca-certs"), system).actions
    assert (file.target, command.target) == ("/etc/pki/ca-trust/source/anchors/ucvm-1.crt", "update-ca-trust")


def test_what_is_no_certificate_is_an_error(system: System) -> None:
    """And what is not done is told."""
    answer = ask(Certificates(), "#cloud-config\nca_certs:\n  remove_defaults: true\n  trusted: [x]\n", system)
    assert answer.actions == []
    assert answer.texts == [
        "warning 3: ca_certs.remove_defaults: has no effect: the image's own certificates stay",
        "error 4: ca_certs.trusted[1]: expected certificates in PEM format",
    ]
