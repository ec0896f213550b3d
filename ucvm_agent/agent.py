"""The daemon: finds user-data, makes the VM what it says, reports, and stays.

    booting → discovering → contextualizing → ready | degraded | failed → draining → stopped

SIGTERM and SIGINT drain and stop, SIGHUP reads the settings again and goes through discovery anew. Whatever
happens to sources, actions or controllers ends in a state with a reason, never in the end of the daemon; only
a state file that cannot be used is that.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING

import structlog

from ucvm_agent import attendance, sources
from ucvm_agent.answers import Answers
from ucvm_agent.application import carry_out
from ucvm_agent.cluster.completion import complete, recall
from ucvm_agent.contextualization import boot_id, include, prepare, state_file
from ucvm_agent.contextualize.redaction import trace
from ucvm_agent.counterparts import Counterparts, reach
from ucvm_agent.errors import PlanError, SettingsError, SourceError, StoreError, UserDataError, ours
from ucvm_agent.events import Note, State
from ucvm_agent.notify import Notify
from ucvm_agent.report.outbox import Outbox
from ucvm_agent.report.reporters import make_reporters
from ucvm_agent.store import lock
from ucvm_agent.store.store import Store

if TYPE_CHECKING:
    from ucvm_agent.attendance import Work
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
    attendance.check(settings)


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
        self._counterparts = Counterparts()
        self._news: News = asyncio.Queue()
        self._own = (State.BOOTING, "")

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
            self._news = asyncio.Queue()
            self._counterparts = await reach(
                outbox.connection, self._settings, self._store, changed=self._on_jobs, apply=self._on_wish
            )
            async with self._counterparts.posting():
                async with asyncio.TaskGroup() as group:
                    works = (self._work, *self._counterparts.works())
                    tasks = [group.create_task(self._guard(work)) for work in works]
                    again = await self._signal() == signal.SIGHUP
                    if not again:
                        await self._drain()
                    for task in tasks:
                        task.cancel()
                self._counterparts = Counterparts()
                if not again:
                    self._enter(State.STOPPED)
                    await outbox.drain(self._settings.stop_timeout * FLUSH_SHARE)
        return again

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
                if self._counterparts.worker is not None:
                    await self._counterparts.worker.stop()

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
        self._own = (state, reason)
        if (worker := self._counterparts.worker) is not None:
            worker.permit(state)
            state, reason = worker.standing(state, reason)
        self._stamp.phase = state.value
        # A commit on the loop, some ten of them in a boot: in a thread a stop would queue behind those of actions, and
        # two states could change places.
        if self._store.enter(state, reason) is not None:
            log.info("state changed", state=state.value, reason=reason or None)
        self._notify.status(f"{state}: {reason}" if reason else state.value)

    def _on_jobs(self) -> None:
        self._enter(*self._own)

    def _on_wish(self, found: Found) -> None:
        """An operator wants this user-data to be applied."""
        self._news.put_nowait((found, None))

    # From source to state

    async def _guard(self, work: Work) -> None:
        """Do the work; what goes wrong in it, beyond what it can deal with, is a state, not our end."""
        try:
            await work()
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

    async def _work(self) -> None:
        """Contextualize by each answer, and again when there is more to it."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen())
            if (controllers := self._counterparts.controllers) is not None:
                from ucvm_agent.assignment.rehearsal import rehearse

                group.create_task(rehearse(controllers, self._settings, self._store))
            current: Found | None = None
            completion: asyncio.Task[None] | None = None
            while True:
                found, completes = await self._news.get()
                if completes is not None and completes is not current:
                    continue  # there is a newer answer already
                if completion is not None:
                    completion.cancel()
                current = found
                async with self._applying:
                    prepared = await self._contextualize(found)
                self._notify.ready()
                completion = group.create_task(self._complete(prepared)) if prepared else None

    async def _listen(self) -> None:
        answers = Answers(self._settings, self._store, self._notify, self._counterparts.controllers, self._enter)
        async for found in answers.each():
            self._news.put_nowait((await asyncio.to_thread(recall, found, self._store), None))

    async def _complete(self, prepared: Prepared) -> None:
        """Wait for what the context waits for; if it will not come, the state says so."""
        try:
            more = await complete(prepared, self._settings, self._store, self._enter)
        except (SourceError, SettingsError) as error:
            waits_for = prepared.waits_for or "its cluster"
            self._enter(State.DEGRADED, f"{waits_for} did not come: {error}")
        else:
            if more is not None:
                self._news.put_nowait((more, prepared.found))

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
