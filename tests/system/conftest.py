"""The image, made once, and a site to boot it in."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.system.site import Site

REPOSITORY = Path(__file__).parent.parent.parent
BUILD_SECONDS = 1200.0


@pytest.fixture(scope="session")
def image() -> Path:
    """The folder with kernel, initial RAM disk and root file system, as deploy/image makes them."""
    built = subprocess.run(
        [REPOSITORY / "deploy/image/build.sh"], capture_output=True, text=True, timeout=BUILD_SECONDS
    )
    assert built.returncode == 0, built.stderr[-4000:]
    print(built.stderr)
    return Path(built.stdout.splitlines()[-1])


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """An ssh key; its public half is beside it."""
    path = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "operator", "-f", path], check=True)
    return path


@pytest.fixture
async def site(tmp_path: Path, image: Path, key: Path) -> AsyncIterator[Site]:
    """A metadata service, an XMPP server and a controller on loopback."""
    async with Site.open(tmp_path, image, key) as site:
        yield site
