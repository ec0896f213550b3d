"""Controllers in the process of a test, which can look on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

from ucvm_agent.controller.controller import Controller, open_controller
from ucvm_agent.controller.settings import Settings


@asynccontextmanager
async def running(settings: Mapping[str, object]) -> AsyncIterator[Controller]:
    """Run a controller with these settings; it is online."""
    async with open_controller(Settings.model_validate(settings)) as controller:
        task = asyncio.create_task(controller.run())
        try:
            await controller.online()
            yield controller
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
