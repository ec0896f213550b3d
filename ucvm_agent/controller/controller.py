"""The controller: its ledger, its account, and all that works on them.

    VMs ──XMPP──▶ manager, fleet, contexts ──▶ ledger ──notices──▶ feed ──▶ page, command line
    page, command line ──▶ orders ──XMPP──▶ VMs

It keeps nothing that matters in memory: it can be killed at any time, and several may share one Redis and one account.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from ucvm_agent.controller.claims import Claims
from ucvm_agent.controller.contexts import Contexts
from ucvm_agent.controller.counters import Counters
from ucvm_agent.controller.feed import Feed
from ucvm_agent.controller.files import FOLDER, Files
from ucvm_agent.controller.fleet import Fleet
from ucvm_agent.controller.forgetting import Forgetting
from ucvm_agent.controller.ledger.base import Ledger
from ucvm_agent.controller.manager import Manager
from ucvm_agent.controller.model import Description, Job
from ucvm_agent.controller.orders import Orders
from ucvm_agent.controller.orphans import Orphans
from ucvm_agent.controller.retention import Retention
from ucvm_agent.controller.settings import Secure, Settings
from ucvm_agent.copilot.post import Post
from ucvm_agent.copilot.signature import Signer
from ucvm_agent.copilot.signing_key import load_or_make
from ucvm_agent.errors import SettingsError
from ucvm_agent.process.notify import Notify
from ucvm_agent.store import lock
from ucvm_agent.store.store import Store
from ucvm_agent.xmpp.client import Connection

if TYPE_CHECKING:
    from ucvm_agent.copilot.secure import Provider

log = structlog.get_logger()

LETTERS = "letters.db"
LEDGER = "ledger.db"
KEY = "signing.pem"

DAY = 86_400.0
"""In seconds."""

STOP_SECONDS = 10.0
"""How long an orderly end may take."""

Companion = Callable[["Controller"], Coroutine[object, object, None]]
"""What serves a controller to others, such as its HTTP API: runs until it is cancelled."""


class Controller:
    """One controller at work; `open_controller` makes it.

    Attributes:
        settings: as they were read.
        ledger: jobs, machines and events.
        feed: what changes in it, live.
        orders: what VMs can be told.
        contexts: what VMs are to be.
        counters: what has happened here since the start.
        files: inputs and archives of jobs; its folder is made by whoever uses it.
        forgetting: how jobs go.
    """

    def __init__(self, settings: Settings, ledger: Ledger, connection: Connection, post: Post) -> None:
        accepts, claims = Acceptance(settings), Claims(ledger)
        self.settings = settings
        self.ledger = ledger
        self.feed = Feed(ledger)
        self.orders = Orders(ledger, post)
        self.contexts = Contexts(settings.contexts.folder, ledger, claims, connection, post, accepts)
        self.counters = Counters(settings, ledger, post)
        self.files = Files(settings.state_dir / FOLDER)
        self.forgetting = Forgetting(ledger, self.files, settings.jobs.chirp)
        orphans = Orphans(ledger, self.files, settings.jobs.chirp.folder, settings.keep.job_days * DAY)
        self._retention = Retention(settings.keep, ledger, self.forgetting, orphans)
        self._connection = connection
        self._post = post
        self._manager = Manager(settings, ledger, claims, post, connection, self.feed, self.counters)
        self._fleet = Fleet(ledger, claims, connection, accepts)

    @property
    def connected(self) -> bool:
        """Whether there is a session with the XMPP server."""
        return self._connection.connected

    async def online(self) -> None:
        """Return when the first attempt to reach the XMPP server has succeeded or failed."""
        await self._connection.tried.wait()

    async def submit(self, description: Description, id: str = "") -> Job:  # noqa: A002 - as the field is called
        """Put a job at the end of the queue.

        Arguments:
            id: its name; made up if empty.

        Raises:
            JobExists: there is one of this id; UsageError: it cannot be written down, or have this id.
        """
        return await self.ledger.submit(
            description, now=datetime.now(UTC), id=id, max_tries=self.settings.jobs.max_tries
        )

    async def run(self, *companions: Companion) -> None:
        """Work until cancelled.

        Arguments:
            companions: what works beside it, such as the HTTP API.
        """
        async with asyncio.TaskGroup() as group:
            parts = (self.feed, self._manager, self._fleet, self.contexts, self.counters, self._retention, self._post)
            for part in parts:
                group.create_task(part.run(), name=type(part).__name__)
            for companion in companions:
                group.create_task(companion(self))
            await asyncio.sleep(0)  # all of them are at work before the first message comes
            group.create_task(self._connection.run())


class Acceptance:
    """Which accounts may have jobs, report and ask: those of the settings, or those of our own domain."""

    def __init__(self, settings: Settings) -> None:
        self._agents = set(settings.jobs.agents) or {settings.xmpp.jid.partition("/")[0].partition("@")[2]}

    def __call__(self, account: str) -> bool:
        """Say whether a bare JID is accepted."""
        return account in self._agents or account.partition("@")[2] in self._agents


@asynccontextmanager
async def open_controller(settings: Settings) -> AsyncIterator[Controller]:
    """Open the ledger and make the controller; it is idle until `run`.

    Raises:
        SettingsError: a setting cannot be used; StoreError, LedgerError: nor what is kept.
    """
    if not settings.xmpp.jid:
        raise SettingsError("a controller needs an account", where="xmpp.jid", hint="set xmpp.jid in controller.toml")
    account = settings.xmpp.jid.partition("/")[0]
    key = await asyncio.to_thread(load_or_make, settings.key_file or settings.state_dir / KEY)
    signer = Signer(key, account)
    log.info("our messages are signed", key=signer.public)
    xmpp = settings.xmpp.model_copy(update={"jid": f"{account}/{settings.name}"})
    connection = Connection(xmpp, settings.name)
    ledger = make_ledger(settings)
    alone = lock.hold(settings.state_dir, "ucvm-controller", "each controller has a state_dir of its own")
    with alone, closing(Store(settings.state_dir / LETTERS, boot_id="")) as store:
        await ledger.open()
        try:
            await _check_key(ledger, account, signer.public)
            secure = await asyncio.to_thread(_provider, settings.jobs.secure)
            accepts = Acceptance(settings)
            post = Post(connection, accepts=accepts, signer=signer, secure=secure, letters=store.letters)
            yield Controller(settings, ledger, connection, post)
        finally:
            await ledger.close()


async def _check_key(ledger: Ledger, account: str, key: str) -> None:
    """Warn of a controller that agents would not obey: they pin one key of an account."""
    common = await ledger.common_key(account, key)
    if common != key:
        hint = "give all controllers the same key_file, or name all keys in xmpp.controller_keys of the agents"
        log.warning("another controller of this account signs by another key", account=account, key=common, hint=hint)


def _provider(settings: Secure) -> Provider | None:
    """Return our side of the original's secure mode, if the settings want it; may block.

    Raises:
        SettingsError: a key cannot be used, or is not there.
    """
    if settings.private_key_file is None:
        return None
    from ucvm_agent.copilot.public_keys import read_private_key, read_public_keys
    from ucvm_agent.copilot.secure import Provider

    key_manager = None
    if settings.key_manager:
        keys = read_public_keys(settings.public_keys_file) if settings.public_keys_file else None
        key_manager = keys.find(settings.key_manager) if keys else None
        if key_manager is None:
            hint = "jobs.secure.public_keys_file has to hold it"
            raise SettingsError("the key of the key manager is not known", where="jobs.secure.key_manager", hint=hint)
    return Provider(read_private_key(settings.private_key_file), key_manager)


def make_ledger(settings: Settings) -> Ledger:
    """Return the ledger that the settings name, not open yet; only the library that it needs is loaded."""
    if settings.redis.get_secret_value():
        from ucvm_agent.controller.ledger.redis_ledger import RedisLedger

        return RedisLedger(settings.redis, max_tries=settings.jobs.max_tries)
    from ucvm_agent.controller.ledger.sqlite_ledger import SQLiteLedger

    return SQLiteLedger(settings.state_dir / LEDGER)


async def run(settings: Settings, *companions: Companion) -> None:
    """Be a controller until SIGTERM or SIGINT.

    Raises:
        SettingsError, StoreError, LedgerError: it cannot even start.
    """
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    notify = Notify()
    async with open_controller(settings) as controller, asyncio.TaskGroup() as group:
        tasks = [group.create_task(controller.run(*companions)), group.create_task(notify.heartbeat())]
        notify.ready()
        await stopped.wait()
        notify.stopping(STOP_SECONDS)
        for task in tasks:
            task.cancel()
