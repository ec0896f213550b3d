"""Those with whom the daemon speaks over the connection of its reports: who has contexts, and who has jobs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ucvm_agent.assignment.controllers import Controllers
    from ucvm_agent.copilot.post import Post
    from ucvm_agent.jobs.worker import Worker
    from ucvm_agent.settings import Settings
    from ucvm_agent.store.store import Store
    from ucvm_agent.xmpp.client import Connection


@dataclass(frozen=True, slots=True)
class Counterparts:
    """What there is of them, by the settings."""

    controllers: Controllers | None = None
    post: Post | None = None
    worker: Worker | None = None

    @asynccontextmanager
    async def posting(self) -> AsyncIterator[None]:
        """Send what has to arrive until the block is left; that is after the work has ended, which says so."""
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self.post.run()) if self.post is not None else None
            yield
            if task is not None:
                task.cancel()

    async def work(self) -> None:
        """Do what managers want, until cancelled."""
        if self.worker is not None:
            await self.worker.run()


async def reach(
    connection: Connection | None, settings: Settings, store: Store, changed: Callable[[], None]
) -> Counterparts:
    """Return those whom the settings name; they have been told of nothing yet.

    Arguments:
        connection: must not have begun to connect, so that they miss nothing of it.
        changed: called when jobs change the state of the machine.
    """
    if connection is None or not settings.xmpp.controllers:
        return Counterparts()
    from ucvm_agent.assignment.controllers import Controllers, read_card
    from ucvm_agent.copilot.post import Post
    from ucvm_agent.copilot.signature import Verifier
    from ucvm_agent.copilot.stanza import bare

    verifier = Verifier(settings.xmpp, connection.jid, store.pins)
    accounts = {bare(controller) for controller in settings.xmpp.controllers}
    post = Post(connection, accepts=lambda account: account in accounts, verifier=verifier, letters=store.letters)
    worker = None
    if settings.jobs.enabled:
        from ucvm_agent.jobs.worker import Worker

        worker = Worker(settings, store, post, connection, changed)
    card = await asyncio.to_thread(read_card, store.machine_id, store.instance_id)
    last = await asyncio.to_thread(store.last_context)
    newest = last.metadata.sequence if last else 0
    return Counterparts(Controllers(connection, settings.xmpp, card, verifier, newest=newest), post, worker)
