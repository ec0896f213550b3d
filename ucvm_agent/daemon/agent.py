"""The daemon: finds user-data, makes the VM what it says, reports, and stays.

    booting → discovering → contextualizing → ready | degraded | failed → draining → stopped

SIGTERM and SIGINT drain and stop, SIGHUP reads the settings again and goes through discovery anew; if they are wrong,
nothing changes. Settings that come with the user-data are taken over when these are carried out, and all goes on where
it was. Whatever happens to sources, actions or controllers ends in a state with a reason, never in the end of the
daemon; only a state file that cannot be used is that.
"""

from __future__ import annotations

import asyncio
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import structlog

from ucvm_agent.contextualize.redaction import trace
from ucvm_agent.daemon.answers import Answers
from ucvm_agent.daemon.calls import Call, Calls
from ucvm_agent.daemon.counterparts import Counterparts, reach
from ucvm_agent.daemon.news import News, Standing
from ucvm_agent.daemon.usable import REFUSED, read_usable
from ucvm_agent.errors import PlanError, SettingsError, SourceError, StoreError, UserDataError, ours
from ucvm_agent.events import Note, State
from ucvm_agent.process.notify import Notify
from ucvm_agent.report.outbox import Outbox
from ucvm_agent.settings.layers import read_context_file
from ucvm_agent.stages.application import carry_out
from ucvm_agent.stages.completion import complete, recall
from ucvm_agent.stages.place import boot_id, state_file
from ucvm_agent.stages.preparation import include, prepare
from ucvm_agent.store import lock
from ucvm_agent.store.store import Store

if TYPE_CHECKING:
    from ucvm_agent.daemon.attendance import Work
    from ucvm_agent.daemon.usable import Load
    from ucvm_agent.process.log import Stamp
    from ucvm_agent.settings import Settings
    from ucvm_agent.settings.layers import Effective
    from ucvm_agent.sources.base import Found
    from ucvm_agent.stages.preparation import Prepared

log = structlog.get_logger()


ACTION_SHARE = 0.7
"""Part of the stop timeout that running actions get, …"""

FLUSH_SHARE = 0.2
"""… and that is kept for telling the controllers about the stop; the rest is for closing connections."""


async def run(load: Load, stamp: Stamp) -> None:
    """Run the daemon until a signal stops it.

    Arguments:
        load: reads the settings; called again at each SIGHUP, and when user-data have changed them.
        stamp: its phase follows the state.

    Raises:
        SettingsError, StoreError: it cannot even start.
    """
    effective = read_usable(load)
    path = state_file(effective.settings)
    try:
        with lock.hold(path.parent), closing(Store(path, boot_id())) as store:
            await Agent(effective, load, store, stamp).run()
    except (StoreError, BaseExceptionGroup) as error:
        # The command line tells it on stderr, where the log is as well, unless that is in a file.
        if isinstance(reason := ours(error), StoreError) and effective.settings.log.file is not None:
            log.error("the state cannot be used, so the agent ends", reason=str(reason))
        raise


class Agent:
    """One life of the daemon.

    Arguments:
        effective: the settings as they are now; replaced by what `load` returns.
        store: of the VM; the caller holds its lock.
    """

    def __init__(self, effective: Effective[Settings], load: Load, store: Store, stamp: Stamp) -> None:
        self._settings = effective.settings
        self._refused = effective.refused
        self._load = load
        self._store = store
        self._stamp = stamp
        self._notify = Notify()
        self._calls = Calls()
        self._given = read_context_file(self._settings.root)
        self._standing: Standing | None = None
        self._applying = asyncio.Lock()
        self._draining = False
        self._counterparts = Counterparts()
        self._news: asyncio.Queue[News] = asyncio.Queue()
        self._own = (State.BOOTING, "")

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT."""
        with self._calls.of_signals():
            lock.listen(self._store.path.parent)
            async with asyncio.TaskGroup() as group:
                heartbeat = group.create_task(self._notify.heartbeat())
                self._enter(State.BOOTING)
                self._tell_refused()
                while await self._serve() is not Call.STOP:
                    pass
                heartbeat.cancel()

    async def _serve(self) -> Call:
        """Work by the present settings; return what we are called to do then."""
        async with Outbox.open(self._settings, self._store) as outbox:
            self._news = asyncio.Queue()
            self._counterparts = await reach(
                outbox.connection, self._settings, self._store, changed=self._on_counterparts, apply=self._on_wish
            )
            async with self._counterparts.posting():
                async with asyncio.TaskGroup() as group:
                    works = (self._work, *self._counterparts.works())
                    tasks = [group.create_task(self._guard(work)) for work in works]
                    call = await self._called()
                    if call is Call.STOP:
                        await self._drain()
                    for task in tasks:
                        task.cancel()
                self._counterparts = Counterparts()
                if call is Call.STOP:
                    self._enter(State.STOPPED)
                    await outbox.drain(self._settings.stop_timeout * FLUSH_SHARE)
        return call

    async def _called(self) -> Call:
        """Wait until we are called to what needs other connections; wrong settings are no reason to leave these."""
        while True:
            call = await self._calls.next()
            if call is Call.STOP or self._reload(call) or call is Call.REJOIN:
                return call

    async def _drain(self) -> None:
        """Let running actions come to their end, but not for longer than the stop timeout."""
        self._enter(State.DRAINING, "told to stop")
        self._draining = True
        self._notify.stopping(self._settings.stop_timeout)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._settings.stop_timeout * ACTION_SHARE), self._applying:
                if self._counterparts.worker is not None:
                    await self._counterparts.worker.stop()

    def _reload(self, call: Call) -> bool:
        """Read the settings again; False if they are wrong, so that the old ones stay."""
        self._given = read_context_file(self._settings.root)
        try:
            effective = read_usable(self._load)
        except SettingsError as error:
            log.warning("settings are wrong, the old ones stay", reason=str(error))
            self._store.events.emit(Note(message=f"settings were not taken over: {error}"))
            return False
        self._notify.reloading()
        if call is not Call.TAKE_OVER or (self._standing and self._standing.answer is None):
            self._standing = None
        settings, self._refused = effective.settings, effective.refused
        if state_file(settings) != state_file(self._settings):
            log.warning("root and state_dir change only at a restart")
            settings = settings.model_copy(update={"root": self._settings.root, "state_dir": self._settings.state_dir})
        self._settings = settings
        message = "user-data have changed the settings" if call is Call.TAKE_OVER else "settings were read again"
        log.info(message)
        self._store.events.emit(Note(message=message))
        self._tell_refused()
        return True

    def _tell_refused(self) -> None:
        if self._refused is not None:
            self._store.events.emit(Note(message=f"{REFUSED}: {self._refused}"))

    def _enter(self, state: State, reason: str = "") -> None:
        if self._draining and state is not State.STOPPED:
            return
        self._own = (state, reason)
        state, reason = self._counterparts.standing(state, reason)
        self._stamp.phase = state.value
        # A commit on the loop, some ten of them in a boot: in a thread a stop would queue behind those of actions, and
        # two states could change places.
        if self._store.enter(state, reason) is not None:
            log.info("state changed", state=state.value, reason=reason or None)
        self._notify.status(f"{state}: {reason}" if reason else state.value)

    def _on_counterparts(self) -> None:
        self._enter(*self._own)

    def _on_wish(self, found: Found) -> None:
        """An operator wants this user-data to be applied."""
        self._news.put_nowait(News(found))

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
                from ucvm_agent.daemon.rehearsal import rehearse

                group.create_task(rehearse(controllers, self._settings, self._store))
            if (standing := self._standing) is not None:
                self._enter(*self._own)  # there is a new worker, who does not know yet
                self._notify.ready()
            while True:
                completion = group.create_task(self._complete(standing.prepared)) if standing else None
                news = await self._next()
                if completion is not None:
                    completion.cancel()
                answer = standing.answer if standing and news.completes else news.answer
                self._standing = standing = None
                async with self._applying:
                    prepared = await self._contextualize(news.found)
                self._notify.ready()
                if prepared is not None:
                    self._standing = standing = Standing(prepared, answer if self._news.empty() else None)
                    await self._take_over()

    async def _next(self) -> News:
        """Return what comes next, without what completes something that is not in force any more."""
        while True:
            news = await self._news.get()
            if news.completes is None or (self._standing and news.completes is self._standing.prepared.found):
                return news

    async def _take_over(self) -> None:
        """Have the settings read again if the user-data have changed them."""
        if await asyncio.to_thread(read_context_file, self._settings.root) != self._given:
            self._calls.put(Call.TAKE_OVER)

    async def _listen(self) -> None:
        """Queue what the sources say; an answer that has been carried out already is only followed."""
        known = self._standing.answer if self._standing else None
        answers = Answers(self._settings, self._store, self._notify, self._counterparts.controllers, self._enter)
        async for found in answers.each(known):
            self._news.put_nowait(News(await asyncio.to_thread(recall, found, self._store), answers.followed))

    async def _complete(self, prepared: Prepared) -> None:
        """Wait for what the context waits for; if it will not come, the state says so."""
        try:
            more = await complete(prepared, self._settings, self._store, self._enter)
        except (SourceError, SettingsError) as error:
            waits_for = prepared.waits_for or "its cluster"
            self._enter(State.DEGRADED, f"{waits_for} did not come: {error}")
        else:
            if more is not None:
                self._news.put_nowait(News(more, completes=prepared.found))

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
            self._calls.put(Call.REJOIN)
        return prepared
