"""The job agent: all slots of the machine, and the orders of those who may give them."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from enum import StrEnum
from typing import TYPE_CHECKING

import structlog

from ucvm_agent.events import Note, State
from ucvm_agent.files.rootfs import RootFS
from ucvm_agent.jobs import watch
from ucvm_agent.jobs.conversation import Conversation, Identity
from ucvm_agent.jobs.depot import Depot
from ucvm_agent.jobs.desk import Desk
from ucvm_agent.jobs.orders import Orders
from ucvm_agent.jobs.reboot import is_shutting_down, restart_later
from ucvm_agent.jobs.slot import Slot
from ucvm_agent.jobs.workshop import Workshop

if TYPE_CHECKING:
    from ucvm_agent.copilot.post import Post
    from ucvm_agent.settings import Settings
    from ucvm_agent.store.store import Store
    from ucvm_agent.xmpp.client import Connection

log = structlog.get_logger()

NAME_SECONDS = 5.0
"""For the DNS to tell the machine's full name (`hostname -f`)."""


class Cause(StrEnum):
    """Why no jobs are taken, for the time being."""

    ORDER = "order"
    """A controller or an operator wants it so, until it says `resume`."""
    PAUSE = "pause"
    """An operator wants it so, until it is told `resume` or the agent starts anew."""
    SPOT = "spot"
    DISK = "disk"
    RESTART = "restart"
    """The machine is about to restart."""


class Worker:
    """The slots.

    Arguments:
        post: of the connection; the worker runs it not.
        changed: called when `standing` may be another one.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        post: Post,
        connection: Connection,
        changed: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._store = store
        self._changed = changed
        self._gate = asyncio.Event()
        self._may_begin = asyncio.Event()
        self._permitted = False
        managers = tuple(dict.fromkeys(settings.xmpp.controllers))
        identity = Identity(store.machine_id, socket.gethostname())
        conversation = Conversation(post, connection, settings.jobs, managers, identity, self._report)
        conversation.on_sleep = self._on_sleep
        self._conversation = conversation
        self.workshop = Workshop(
            settings.jobs, RootFS(settings.root).real(str(settings.jobs.work_dir)), settings.transfer
        )
        desk, depot = Desk(conversation, store.jobs), Depot(conversation)
        count = settings.jobs.slots or len(os.sched_getaffinity(0))
        # A job of an earlier run, which had more slots, is brought to its end all the same.
        self._count = count
        numbers = sorted({*self.numbers, *(job.slot for job in store.jobs.present())})
        self.slots = [Slot(n, conversation, desk, depot, store, self.workshop, self._on_change) for n in numbers]
        self._orders = Orders(self, conversation)
        self._restarting: asyncio.Task[None] | None = None
        # What the machine itself finds out is found out anew.
        for cause in (Cause.PAUSE, Cause.SPOT, Cause.DISK, Cause.RESTART):
            store.jobs.resume(cause)

    @property
    def numbers(self) -> range:
        """The numbers of the slots that take jobs."""
        return range(1, self._count + 1)

    async def run(self) -> None:
        """Work until cancelled; jobs that run go on by themselves then."""
        await self._may_begin.wait()
        self._conversation.identity = await _identity(self._store.machine_id)
        await asyncio.to_thread(self.workshop.warn_of_sharing, self.numbers)
        await self.workshop.sweep({job.job_id for job in self._store.jobs.present()})
        async with asyncio.TaskGroup() as group:
            for slot in self.slots:
                # One that only brings a job of before to its end takes no other.
                group.create_task(slot.run(self._gate if slot.number <= self._count else asyncio.Event()))
            group.create_task(self._orders.run())
            folder = RootFS(self._settings.root).real(str(self._settings.jobs.work_dir))
            group.create_task(self._heed(Cause.DISK, watch.low_disk(folder, self._settings.jobs.min_free_bytes)))
            if self._store.source == "ec2":
                group.create_task(self._heed(Cause.SPOT, watch.spot_notices(self._settings.sources.ec2)))

    async def stop(self) -> None:
        """Make the jobs ready for the end of the agent.

        They go on by themselves, and the next start takes them up again; but where the settings want it, or the
        machine goes down with the agent, they are ended and given back. What is being brought away is kept: the next
        start goes on with that.
        """
        if self._settings.jobs.at_stop == "give-back" or await is_shutting_down():
            await asyncio.gather(*(slot.give_back() for slot in self.slots))

    # What may be done

    def permit(self, state: State) -> None:
        """Take jobs or not, as the state of the machine allows; the first that does begins the work."""
        fit = (State.READY, State.DEGRADED) if self._settings.jobs.when_degraded else (State.READY,)
        self._permitted = state in fit
        if self._permitted:
            self._may_begin.set()
        self._set_gate()

    def standing(self, state: State, reason: str) -> tuple[State, str]:
        """Return the state of the machine, with what the slots do, from what it would be without them."""
        if state not in (State.READY, State.DEGRADED):
            return state, reason
        drains = self._store.jobs.drains()
        jobs = self._store.jobs.present()
        if drains:
            why = "; ".join(drains.values())
            return State.DRAINING, why if jobs else f"{why}: no job is left"
        if state is State.READY:
            obstacles = dict.fromkeys(slot.obstacle for slot in self.slots if slot.obstacle)
            return State.WORKING if jobs else state, "; ".join(obstacles)
        return state, reason

    def drain(self, reason: str, cause: Cause = Cause.ORDER) -> None:
        """Finish the jobs, and take no more until `resume`, over restarts as well."""
        self._store.jobs.drain(cause, reason or "told to drain")
        log.info("no more jobs are taken", cause=cause.value, reason=reason)
        self._on_change()

    def resume(self, cause: Cause = Cause.ORDER) -> None:
        """Take jobs again, unless there is another cause not to."""
        self._store.jobs.resume(cause)
        log.info("a cause to take no jobs has gone", cause=cause.value)
        self._on_change()

    def cancel(self, job_id: str, lease: str = "", reason: str = "") -> bool:
        """End a job; False if no slot has it under this lease.

        Arguments:
            lease: empty = whichever it has.
        """
        for slot in self.slots:
            job = slot.job
            if job is not None and job.job_id == job_id and lease in ("", job.lease):
                slot.cancel(job, reason or "it was cancelled")
                return True
        return False

    def has(self, job_id: str) -> bool:
        """Return whether a slot has this job."""
        return any(job.job_id == job_id for job in self._store.jobs.present())

    def is_idle(self) -> bool:
        """Return whether no slot has a job, or has asked for one that may come yet."""
        return not self._store.jobs.present() and not self._store.jobs.questions()

    def begin_restart(self, reason: str) -> None:
        """Take no more jobs, since the machine restarts."""
        self.drain(reason, Cause.RESTART)

    def give_up_restart(self, reason: str) -> None:
        """Take jobs again, since the machine does not restart."""
        self._report(reason)
        self.resume(Cause.RESTART)

    def _set_gate(self) -> None:
        if self._permitted and not self._store.jobs.drains():
            self._gate.set()
        elif self._gate.is_set():
            self._gate.clear()
            for slot in self.slots:
                slot.stop_asking()

    async def _heed(self, cause: Cause, reasons: AsyncIterator[str]) -> None:
        async for reason in reasons:
            if reason:
                self.drain(reason, cause)
            else:
                self.resume(cause)

    def _on_change(self) -> None:
        self._set_gate()
        self._changed()

    def _on_sleep(self, seconds: float) -> None:
        jobs = self._settings.jobs
        if jobs.reboot_on_sleep and (self._restarting is None or self._restarting.done()):
            self._restarting = self._orders.spawn(restart_later(seconds, jobs.reboot_uptime, self))

    def _report(self, message: str) -> None:
        self._store.events.emit(Note(message=message))


async def _identity(machine_id: str) -> Identity:
    """Return what this machine says of itself; its full name, if somebody knows it in time."""
    name = socket.gethostname()
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(NAME_SECONDS):
            loop = asyncio.get_running_loop()
            found = await loop.getaddrinfo(name, None, type=socket.SOCK_STREAM, flags=socket.AI_CANONNAME)
            name = found[0][3] or name
    return Identity(machine_id, name)
