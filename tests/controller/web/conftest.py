"""A site on loopback, with a ledger in SQLite and no XMPP server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.controller.web.site import Api, client, lonely_controller
from ucvm_agent.controller.controller import Controller
from ucvm_agent.controller.web.site import open_site


@pytest.fixture
async def manager(tmp_path: Path) -> AsyncIterator[Controller]:
    """A controller without VMs."""
    async with lonely_controller(tmp_path) as made:
        yield made


@pytest.fixture
async def api(manager: Controller) -> AsyncIterator[Api]:
    """A client of its site."""
    async with open_site(manager) as url, client(manager, url) as made:
        yield made
