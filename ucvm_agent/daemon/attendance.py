"""Who else is attended to over the connection of the reports: monitors, the heartbeat's chat room, and operators."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from ucvm_agent.files.rootfs import RootFS

if TYPE_CHECKING:
    from ucvm_agent.copilot.post import Post
    from ucvm_agent.copilot.signature import Verifier
    from ucvm_agent.jobs.worker import Worker
    from ucvm_agent.monitoring.openmetrics import Readings
    from ucvm_agent.operators.base import Machine
    from ucvm_agent.settings import Settings
    from ucvm_agent.store.store import Store
    from ucvm_agent.xmpp.client import Connection

Work: TypeAlias = "Callable[[], Awaitable[None]]"
"""Something to be done until it is cancelled."""


def check(settings: Settings) -> None:
    """Raise SettingsError for what is no JID."""
    if not settings.xmpp.jid:
        return
    from ucvm_agent.xmpp.account import read_jid

    if settings.monitoring.room:
        from ucvm_agent.monitoring.room import read_room

        read_room(settings.monitoring.room)
    if settings.monitoring.monitor:
        read_jid(settings.monitoring.monitor, "monitoring.monitor")
    for operator in settings.operators.jids:
        read_jid(operator, "operators.jids")


def monitored(connection: Connection, post: Post, settings: Settings) -> Iterator[Work]:
    """Yield what tells others over the connection how the machine is."""
    from ucvm_agent.monitoring.heartbeat import Heartbeat

    chosen = settings.monitoring
    yield Heartbeat(post, _folders(settings)).run
    if chosen.room:
        from ucvm_agent.copilot.messages import GetStatus, Ping
        from ucvm_agent.monitoring.room import Room, read_room

        room = read_room(chosen.room)
        if chosen.room_answers:
            post.admit(room.bare, Ping, GetStatus)
        yield Room(connection, room).run
    if chosen.monitor and chosen.interval:
        from ucvm_agent.monitoring.report import report

        yield partial(report, post, chosen.monitor, chosen.interval, _folders(settings))


def metered(settings: Settings, store: Store, worker: Worker | None) -> Iterator[Work]:
    """Yield what serves the figures on this machine itself."""
    if not settings.monitoring.port:
        return
    from ucvm_agent.monitoring.openmetrics import Page, serve

    slots = worker.numbers if worker is not None else ()
    yield partial(serve, settings.monitoring.port, Page(partial(_read, settings, store, slots)))


def operated(connection: Connection, machine: Machine, settings: Settings, verifier: Verifier) -> Iterator[Work]:
    """Yield what obeys operators; nothing if there can be none."""
    from ucvm_agent.operators.base import Accounts
    from ucvm_agent.xmpp.account import read_jid

    named = {read_jid(jid, "operators.jids").bare for jid in settings.operators.jids}
    controllers = {read_jid(jid, "xmpp.controllers").bare for jid in settings.xmpp.controllers}
    if not settings.operators.enabled or not (named or controllers):
        return
    from ucvm_agent.operators.adhoc import AdHocCommands
    from ucvm_agent.operators.chat import Chat

    accounts = Accounts(named, controllers, verifier.must_sign)
    AdHocCommands(connection, machine, accounts)
    yield Chat(connection, machine, accounts).run


def _folders(settings: Settings) -> Sequence[Path]:
    """Return the folders whose disks matter: the system's, that of the state, and that of the jobs."""
    root = RootFS(settings.root)
    folders = [settings.root, root.real(str(settings.state_dir))]
    return [*folders, root.real(str(settings.jobs.work_dir))] if settings.jobs.enabled else folders


async def _read(settings: Settings, store: Store, slots: Sequence[int]) -> Readings:
    from ucvm_agent.monitoring import figures
    from ucvm_agent.monitoring.openmetrics import Readings
    from ucvm_agent.store import status

    read = await figures.read(_folders(settings))
    return Readings(read, await asyncio.to_thread(status.read, store.path), slots)
