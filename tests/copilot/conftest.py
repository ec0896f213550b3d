"""RSA keys as Co-Pilot components have them, made by the `openssl` program."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from tests.copilot.openssl import openssl
from ucvm_agent.copilot.public_keys import PublicKeys, read_private_key


@dataclass(frozen=True)
class Pair:
    """A component's keys, and its files."""

    private: RSAPrivateKey
    private_file: Path
    public_file: Path

    @property
    def public(self) -> RSAPublicKey:
        return self.private.public_key()


def make_pair(folder: Path, name: str, bits: int = 1024) -> Pair:
    """Let the program make a pair, in the forms that the original reads."""
    private_file, public_file = folder / f"{name}.key", folder / f"{name}.pub"
    openssl("genrsa", "-traditional", "-out", private_file, str(bits))
    openssl("rsa", "-in", private_file, "-RSAPublicKey_out", "-out", public_file)
    return Pair(read_private_key(private_file), private_file, public_file)


@pytest.fixture(scope="session")
def manager(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """The job manager's keys."""
    return make_pair(tmp_path_factory.mktemp("keys"), "jm")


@pytest.fixture(scope="session")
def key_manager(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """The key manager's."""
    return make_pair(tmp_path_factory.mktemp("keys"), "km")


@pytest.fixture(scope="session")
def public_keys(manager: Pair, key_manager: Pair) -> PublicKeys:
    """What an agent knows of both."""
    return PublicKeys({"jm@site.example": manager.public, "km@site.example": key_manager.public})
