"""What tests of operators and of monitoring need."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.daemon.running import Controller, Daemon
from tests.operators.site import Site, open_site


@pytest.fixture
async def site(tmp_path: Path, daemon: Daemon, controller: Controller) -> AsyncIterator[Site]:
    """A site whose daemon is not started yet."""
    async with open_site(tmp_path, daemon, controller) as site:
        yield site
