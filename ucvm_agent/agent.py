"""The daemon: finds user-data, makes the VM what it says, reports, and stays.

    booting → discovering → contextualizing → ready | degraded | failed → draining → stopped

SIGTERM and SIGINT drain and stop, SIGHUP reads the settings again and goes through discovery anew. Whatever
happens to sources, actions or controllers ends in a state with a reason, never in the end of the daemon; only
a state file that cannot be used is that.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING

import structlog

from ucvm_agent import sources
from ucvm_agent.application import carry_out
from ucvm_agent.cluster.completion import complete, recall
from ucvm_agent.contextualization import boot_id, discover, fall_back, follow, include, prepare, state_file
from ucvm_agent.contextualize.redaction import trace
from ucvm_agent.errors import PlanError, SettingsError, SourceError, StoreError, UserDataError, ours
from ucvm_agent.events import Note, State
from ucvm_agent.notify import Notify
from ucvm_agent.report.outbox import Outbox
from ucvm_agent.report.reporters import make_reporters
from ucvm_agent.store import lock
from ucvm_agent.store.store import Store

if TYPE_CHECKING:
    from ucvm_agent.assignment.controllers import Controllers
    from ucvm_agent.contextualization import Prepared
    from ucvm_agent.log import Stamp
    from ucvm_agent.settings import Settings
    from ucvm_agent.sources.base import Found

log = structlog.get_logger()

News = asyncio.Queue[tuple["Found", "Found | None"]]
"""What is to be contextualized, and which earlier one it completes."""

ACTION_SHARE = 0.7
"""Part of the stop timeout that running actions get, …"""

FLUSH_SHARE = 0.2
"""… and that is kept for telling the controllers about the stop; the rest is for closing connections."""


async def run(load: Callable[[], Settings], stamp: Stamp) -> None:
    """Run the daemon until a signal stops it.

    Arguments:
        load: reads the settings; called again at each SIGHUP.
        stamp: its phase follows the state.

    Raises:
        SettingsError, StoreError: it cannot even start.
    """
    settings = load()
    _check(settings)
    path = state_file(settings)
    try:
        with lock.hold(path.parent), closing(Store(path, boot_id())) as store:
            await Agent(settings, load, store, stamp).run()
    except (StoreError, BaseExceptionGroup) as error:
        if isinstance(reason := ours(error), StoreError):
            log.error("the state cannot be used, so the agent ends", reason=str(reason))
        raise


def _check(settings: Settings) -> None:
    """Raise `SettingsError` for what only the rooms can tell: a source or a JID that cannot be one."""
    sources.make_all(settings)
    make_reporters(settings, machine_id="")


class Agent:
    """One life of the daemon.

    Arguments:
        settings: as they are now; replaced at SIGHUP by what `load` returns.
        store: of the VM; the caller holds its lock.
    """

    def __init__(self, settings: Settings, load: Callable[[], Settings], store: Store, stamp: Stamp) -> None:
        self._settings = settings
        self._load = load
        self._store = store
        self._stamp = stamp
        self._notify = Notify()
        self._told: asyncio.Queue[signal.Signals] = asyncio.Queue()
        self._applying = asyncio.Lock()
        self._draining = False

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT."""
        with self._signals():
            lock.listen(self._store.path.parent)
            async with asyncio.TaskGroup() as group:
                heartbeat = group.create_task(self._notify.heartbeat())
                self._enter(State.BOOTING)
                while await self._serve():
                    self._reload()
                heartbeat.cancel()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        for number in numbers:
            loop.add_signal_handler(number, self._told.put_nowait, number)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)

    async def _serve(self) -> bool:
        """Work by the present settings; return True when they are to be read again, False at the end."""
        async with Outbox.open(self._settings, self._store) as outbox:
            self._controllers = await self._reach_controllers(outbox)
            async with asyncio.TaskGroup() as group:
                work = group.create_task(self._work())
                again = await self._signal() == signal.SIGHUP
                if not again:
                    await self._drain()
                work.cancel()
            if not again:
                self._enter(State.STOPPED)
                await outbox.drain(self._settings.stop_timeout * FLUSH_SHARE)
        return again

    async def _reach_controllers(self, outbox: Outbox) -> Controllers | None:
        """Return those who may have a context for us; they are asked over the connection of the reports."""
        if outbox.connection is None or not self._settings.xmpp.controllers:
            return None
        from ucvm_agent.assignment.controllers import Controllers, read_card

        card = await asyncio.to_thread(read_card, self._store.machine_id, self._store.instance_id)
        last = await asyncio.to_thread(self._store.last_context)
        newest = last.metadata.sequence if last else 0
        return Controllers(outbox.connection, self._settings.xmpp, card, newest=newest)

    async def _signal(self) -> signal.Signals:
        """Wait for a signal: of several, one that ends us, and many SIGHUPs count as one."""
        told = [await self._told.get()]
        while not self._told.empty():
            told.append(self._told.get_nowait())
        return next((number for number in told if number != signal.SIGHUP), signal.SIGHUP)

    async def _drain(self) -> None:
        """Let running actions come to their end, but not for longer than the stop timeout."""
        self._enter(State.DRAINING, "told to stop")
        self._draining = True
        self._notify.stopping(self._settings.stop_timeout)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._settings.stop_timeout * ACTION_SHARE), self._applying:
                pass

    def _reload(self) -> None:
        self._notify.reloading()
        try:
            settings = self._load()
            _check(settings)
        except SettingsError as error:
            log.warning("settings are wrong, the old ones stay", reason=str(error))
            self._store.events.emit(Note(message=f"settings were not taken over: {error}"))
            return
        if state_file(settings) != state_file(self._settings):
            log.warning("root and state_dir change only at a restart")
            settings = settings.model_copy(update={"root": self._settings.root, "state_dir": self._settings.state_dir})
        self._settings = settings
        log.info("settings were read again")
        self._store.events.emit(Note(message="settings were read again"))

    def _enter(self, state: State, reason: str = "") -> None:
        if self._draining and state is not State.STOPPED:
            return
        self._stamp.phase = state.value
        # A commit on the loop, some ten of them in a boot: in a thread a stop would queue behind those of actions, and
        # two states could change places.
        self._store.enter(state, reason)
        self._notify.status(f"{state}: {reason}" if reason else state.value)
        log.info("state changed", state=state.value, reason=reason or None)

    # From source to state

    async def _work(self) -> None:
        """Contextualize by each answer, and again when there is more to it."""
        news: News = asyncio.Queue()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._listen(news))
                if self._controllers is not None:
                    from ucvm_agent.assignment.rehearsal import rehearse

                    group.create_task(rehearse(self._controllers, self._settings, self._store))
                current: Found | None = None
                completion: asyncio.Task[None] | None = None
                while True:
                    found, completes = await news.get()
                    if completes is not None and completes is not current:
                        continue  # there is a newer answer already
                    if completion is not None:
                        completion.cancel()
                    current = found
                    async with self._applying:
                        prepared = await self._contextualize(found)
                    self._notify.ready()
                    completion = group.create_task(self._complete(prepared, news)) if prepared else None
        except* StoreError:
            raise
        except* Exception as errors:  # a third party's code runs here, too; its error's text may hold a secret
            error: BaseException = errors
            while isinstance(error, BaseExceptionGroup):
                error = error.exceptions[0]
            kind = type(error).__name__
            log.error("internal error", error=kind, trace=trace(error))
            self._enter(State.FAILED, f"internal error: {kind} (please report it; the log tells where)")
            self._notify.ready()

    async def _listen(self, news: News) -> None:
        async for found in self._answers():
            news.put_nowait((await asyncio.to_thread(recall, found, self._store), None))

    async def _complete(self, prepared: Prepared, news: News) -> None:
        """Wait for what the context waits for; if it will not come, the state says so."""
        try:
            more = await complete(prepared, self._settings, self._store, self._enter)
        except (SourceError, SettingsError) as error:
            waits_for = prepared.waits_for or "its cluster"
            self._enter(State.DEGRADED, f"{waits_for} did not come: {error}")
        else:
            if more is not None:
                news.put_nowait((more, prepared.found))

    async def _answers(self) -> AsyncIterator[Found]:
        """Yield what the source says, now and whenever it says something new.

        Where no source answers, begin with what there is without them, and keep looking.
        """
        self._enter(State.DISCOVERING)
        try:
            found = await discover(self._settings, self._waiting(), self._controllers)
        except SourceError as error:
            remembered = await asyncio.to_thread(self._store.last_context)
            if instead := await fall_back(self._settings, remembered):
                whose = "of an earlier boot" if instead is remembered else f"that {instead.source} has"
                self._store.events.emit(Note(message=f"going by the user-data {whose}: {error}"))
                yield instead
            else:
                self._enter(State.DEGRADED, f"no user-data: {error}")
                self._notify.ready()
            found = await self._search()
        yield found
        async for newer in follow(found, self._settings, self._controllers):
            self._store.events.emit(Note(message=f"there is other user-data: {newer.source} {newer.origin}"))
            yield newer

    def _waiting(self) -> Callable[[str], None]:
        """Return what tells systemd and, once for each reason, the controllers what is waited for."""
        told: set[str] = set()

        def tell(reason: str) -> None:
            self._notify.status(f"{State.DISCOVERING}: {reason}")
            if reason not in told:
                told.add(reason)
                self._store.events.emit(Note(message=f"still looking for user-data: {reason}"))

        return tell

    async def _search(self) -> Found:
        while True:
            await asyncio.sleep(self._settings.sources.search_pause)
            with suppress(SourceError):
                return await discover(self._settings, asker=self._controllers)

    async def _contextualize(self, found: Found) -> Prepared | None:
        """Carry out what user-data says; return it, or None if it cannot be used."""
        try:
            found = await include(found, self._settings, keep=True)
            prepared = await asyncio.to_thread(prepare, found, self._settings, self._store)
        except (UserDataError, PlanError) as error:
            self._enter(State.FAILED, str(error))
            return None
        before = self._store.machine_id
        await carry_out(prepared, self._settings, self._store, self._enter)
        if self._store.machine_id != before:
            # This disk was cloned: the connections have still the name of the machine that it was.
            self._told.put_nowait(signal.SIGHUP)
        return prepared
