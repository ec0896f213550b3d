"""Those with whom the daemon speaks over the connection of its reports.

That is who has contexts, who has jobs, who looks after the machine, and who wants to know how it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ucvm_agent.daemon.attendance import Work, metered, monitored, operated
from ucvm_agent.events import State

if TYPE_CHECKING:
    from ucvm_agent.assignment.controllers import Controllers
    from ucvm_agent.copilot.post import Post
    from ucvm_agent.copilot.secure import Consumer
    from ucvm_agent.copilot.signature import Verifier
    from ucvm_agent.copilot.ticketing import Ticketing
    from ucvm_agent.daemon.trouble import Trouble
    from ucvm_agent.jobs.worker import Worker
    from ucvm_agent.settings import Jobs, Settings
    from ucvm_agent.sources.base import Found
    from ucvm_agent.store.store import Store
    from ucvm_agent.xmpp.client import Connection


@dataclass(frozen=True, slots=True)
class Counterparts:
    """What there is of them, by the settings.

    Arguments:
        attended: what is done for those who look on.
        trouble: with the connection to them.
    """

    controllers: Controllers | None = None
    post: Post | None = None
    worker: Worker | None = None
    attended: tuple[Work, ...] = ()
    ticketing: Ticketing | None = None
    trouble: Trouble | None = None

    def standing(self, state: State, reason: str) -> tuple[State, str]:
        """Return the state of the machine with what they make of it, from what it would be without them."""
        if self.worker is not None:
            self.worker.permit(state)
            state, reason = self.worker.standing(state, reason)
        if self.trouble is not None and state in (State.READY, State.WORKING):
            reason = "; ".join(filter(None, (reason, self.trouble.reason)))
        return state, reason

    @asynccontextmanager
    async def posting(self) -> AsyncIterator[None]:
        """Send what has to arrive until the block is left; that is after the work has ended, which says so."""
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self.post.run()) if self.post is not None else None
            yield
            if task is not None:
                task.cancel()

    def works(self) -> Iterator[Work]:
        """Yield what is to be done until cancelled, each by itself."""
        if self.worker is not None:
            yield self._work_for_managers
        if self.trouble is not None:
            yield self.trouble.run
        yield from self.attended

    async def _work_for_managers(self) -> None:
        async with asyncio.TaskGroup() as group:
            if self.ticketing is not None:
                group.create_task(self.ticketing.run())
                await self.ticketing.ready.wait()
            if self.worker is not None:
                group.create_task(self.worker.run())


async def reach(
    connection: Connection | None,
    settings: Settings,
    store: Store,
    changed: Callable[[], None],
    apply: Callable[[Found], None],
) -> Counterparts:
    """Return those whom the settings name; they have been told of nothing yet.

    Arguments:
        connection: must not have begun to connect, so that they miss nothing of it.
        changed: called when they make the state of the machine another one.
        apply: called with user-data that an operator wants to be applied.
    """
    if connection is None:
        return Counterparts(attended=tuple(metered(settings, store, None)))
    from ucvm_agent.copilot.post import Post
    from ucvm_agent.copilot.signature import Verifier
    from ucvm_agent.copilot.stanza import bare
    from ucvm_agent.daemon.operation import Operation
    from ucvm_agent.daemon.renewal import Renewal
    from ucvm_agent.daemon.trouble import Trouble

    verifier = Verifier(settings.xmpp, connection.jid, store.pins)
    accounts = {bare(controller) for controller in settings.xmpp.controllers}
    secure = await asyncio.to_thread(make_consumer, settings.jobs)
    post = Post(
        connection,
        accepts=lambda account: account in accounts,
        verifier=verifier,
        secure=secure,
        letters=store.letters,
    )
    ticketing = _ticketing(post, secure, settings.jobs) if secure is not None else None
    worker = None
    if settings.jobs.enabled and accounts:
        from ucvm_agent.jobs.worker import Worker

        worker = Worker(settings, store, post, connection, changed)
    renewal = Renewal(settings, store, apply)
    attended = (
        *monitored(connection, post, settings),
        *metered(settings, store, worker),
        *operated(connection, Operation(settings, store, worker, renewal), settings, verifier),
    )
    names = [f"xmpp:{controller}" for controller in settings.xmpp.controllers]
    trouble = Trouble(connection, store.events, names, verifier.refusals, changed)
    if accounts:
        renewal.controllers = await _controllers(connection, settings, store, verifier)
    return Counterparts(renewal.controllers, post, worker, attended, ticketing, trouble)


async def _controllers(connection: Connection, settings: Settings, store: Store, verifier: Verifier) -> Controllers:
    from ucvm_agent.assignment.controllers import Controllers, read_card

    card = await asyncio.to_thread(read_card, store.machine_id, store.instance_id)
    last = await asyncio.to_thread(store.last_context)
    return Controllers(connection, settings.xmpp, card, verifier, newest=last.metadata.sequence if last else 0)


def _ticketing(post: Post, secure: Consumer, jobs: Jobs) -> Ticketing:
    from ucvm_agent.copilot.ticketing import Ticketing

    return Ticketing(post, secure, jobs.secure.key_manager, jobs.secure.credential)


def make_consumer(jobs: Jobs) -> Consumer | None:
    """Return our side of the original's secure mode, if the settings want it; may block.

    Raises:
        SettingsError: the keys cannot be read.
    """
    if not jobs.enabled or jobs.secure.public_keys_file is None:
        return None
    from ucvm_agent.copilot.public_keys import read_public_keys
    from ucvm_agent.copilot.secure import Consumer

    return Consumer(read_public_keys(jobs.secure.public_keys_file), jobs.secure.key_manager)
