"""Running a job, and finding it again.

What a restarted agent finds in the folder of control (`record.py`):

    outcome                  it has ended: take the outcome
    beginning, of a process  it is running: wait for that process
    beginning, of none       lost: its supervisor was killed, or the machine went down with it
    nothing of these         lost before it began; that is made sure of, so that no late supervisor begins

    running = await start(job, folder, account, limits)
    ending = await running.wait()
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TypeAlias

import structlog

from ucvm_agent.errors import JobError
from ucvm_agent.jobs.running import bell, program, wrapper
from ucvm_agent.jobs.running.account import Account
from ucvm_agent.jobs.running.cgroup import Cgroup
from ucvm_agent.jobs.running.job import WRAPPER, Job
from ucvm_agent.jobs.running.limits import Limits
from ucvm_agent.jobs.running.privacy import FOLDER
from ucvm_agent.jobs.running.record import (
    MAX_REASON,
    Beginning,
    Cancel,
    Order,
    Outcome,
    Validation,
    boot_id,
    start_time,
)
from ucvm_agent.jobs.running.scope import scope_command
from ucvm_agent.jobs.running.tree import END_SECONDS, kill_strays
from ucvm_agent.jobs.running.workdir import Folder, hand_over

log = structlog.get_logger()

START_SECONDS = 60.0
"""How long the supervisor may take to start; a machine that is booting can be slow."""

PAUSE = 10.0
"""Seconds until it is tried again to give up a supervisor that did not start."""


@dataclass(frozen=True)
class Lost:
    """Nobody knows how the job ended.

    Arguments:
        reason: a sentence without full stop.
        began: whether it may have run, in part; otherwise it can be started as if nothing had been.
    """

    reason: str
    began: bool


Ending: TypeAlias = Outcome | Lost


@dataclass(frozen=True)
class Running:
    """A job whose supervisor was seen alive."""

    control: Path
    beginning: Beginning

    async def validation(self) -> Validation | None:
        """Wait until the validation of the job begins; None if the job ends before, or without one."""
        ringing = await asyncio.to_thread(bell.listen, self.control)
        supervisor = _open_supervisor(self.beginning)
        try:
            if ringing is None or supervisor is None:
                return None
            record = await asyncio.to_thread(Validation.read, self.control)
            if record is None:
                await _readable(supervisor, ringing)
                record = await asyncio.to_thread(Validation.read, self.control)
            return record
        finally:
            for descriptor in (ringing, supervisor):
                if descriptor is not None:
                    os.close(descriptor)

    async def wait(self) -> Ending:
        """Wait until the job and all of its processes have ended.

        Cancellation gives up the waiting, not the job.
        """
        descriptor = _open_supervisor(self.beginning)
        if descriptor is not None:
            try:
                await _readable(descriptor)
            finally:
                os.close(descriptor)
        return await asyncio.to_thread(_ending, self.control, self.beginning)

    async def kill(self, reason: str) -> None:
        """Let the supervisor end the job: SIGTERM, and a little later SIGKILL; `wait` tells when it has.

        Arguments:
            reason: for the outcome; the first one counts.
        """
        await asyncio.to_thread(self._give_reason, reason[:MAX_REASON])
        descriptor = _open_supervisor(self.beginning)
        if descriptor is not None:
            try:
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(descriptor, signal.SIGTERM)
            finally:
                os.close(descriptor)

    def _give_reason(self, reason: str) -> None:
        try:
            Cancel(reason).write_once(self.control)
        except OSError as error:  # it has to end even if the disk is full
            log.warning("reason could not be written", control=str(self.control), reason=reason, error=error.strerror)


async def start(job: Job, folder: Folder, account: Account, limits: Limits) -> Running:
    """Start a job whose input is in its folder; from here on the folder is the job's.

    A job is started at most once in a folder: to try again, make the folder again. Cancellation leaves it open whether
    the job runs; `attach` finds out.

    Raises:
        JobError: it cannot be started; nothing of it runs.
    """
    text = await wrapper.compose(job, folder.path, account)
    order = Order(
        unit=_unit_name(folder),
        folder=str(folder.path),
        validation=job.validation_script,
        account=account,
        limits=limits,
    )
    await asyncio.to_thread(_prepare, order, folder, text)
    complaint = await _start_supervisor(order, folder.control)
    beginning = await asyncio.to_thread(Beginning.read, folder.control)
    if beginning is None or not beginning.pid:
        raise JobError(f"its supervisor could not begin: {complaint}", where=job.id)
    log.info("job started", job=job.id, supervisor=beginning.pid, cgroup=beginning.cgroup)
    if beginning.exposed:
        log.warning("job shares its places for temporary files with others", job=job.id, reason=beginning.exposed)
    return Running(folder.control, beginning)


async def attach(control: Path) -> Running | Ending:
    """Find a job again that this agent, or one before it, has started or was about to start.

    Arguments:
        control: `Folder.control`; may be missing.

    Raises:
        JobError: the disk is full, so that nobody can be kept from starting it just now.
    """
    return await asyncio.to_thread(_attach, control)


def _attach(control: Path) -> Running | Ending:
    if not control.is_dir():
        return Lost("nothing is left of it", began=False)
    beginning = Beginning.read(control)
    if beginning is None:
        try:
            Beginning().write_once(control)  # no supervisor that was about to begin does so now
        except OSError as error:
            raise JobError(error.strerror or str(error), where=str(control)) from error
        beginning = Beginning.read(control) or Beginning()
    descriptor = _open_supervisor(beginning)
    if descriptor is None:
        return _ending(control, beginning)
    os.close(descriptor)
    return Running(control, beginning)


def _ending(control: Path, beginning: Beginning) -> Ending:
    """Return how a job ended whose supervisor is no more, and end what it may have left."""
    outcome = Outcome.read(control)
    if outcome is not None:
        return outcome
    if not beginning.pid:
        return Lost("it had not begun when the agent was stopped", began=False)
    if beginning.boot != boot_id():
        return Lost("the machine was restarted", began=True)
    if beginning.cgroup:
        cgroup = Cgroup(Path(beginning.cgroup))
        cgroup.kill()
        cgroup.wait_empty(END_SECONDS)
        cgroup.remove()
    if (order := Order.read(control)) is not None:
        kill_strays(order.folder, control / FOLDER)
    return Lost("its supervisor was killed", began=True)


def _open_supervisor(beginning: Beginning) -> int | None:
    """Return a pidfd of the supervisor; None if it has ended, whoever may have its number now."""
    if not beginning.pid or beginning.boot != boot_id():
        return None
    try:
        descriptor = os.pidfd_open(beginning.pid)
    except ProcessLookupError:
        return None
    if start_time(beginning.pid) != beginning.started or select.select([descriptor], [], [], 0)[0]:
        os.close(descriptor)
        return None
    return descriptor


async def _readable(*descriptors: int) -> None:
    """Wait until one of them can be read."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    for descriptor in descriptors:
        loop.add_reader(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        for descriptor in descriptors:
            loop.remove_reader(descriptor)


def _unit_name(folder: Folder) -> str:
    """Return a name for the job's scope or cgroup: another one for another agent on this machine."""
    return f"ucvm-job-{folder.job}-{sha256(os.fsencode(folder.control)).hexdigest()[:8]}"


def _prepare(order: Order, folder: Folder, text: bytes) -> None:
    if Beginning.read(folder.control) is not None:
        raise JobError("it was started already", where=order.unit)
    try:
        (folder.path / WRAPPER).write_bytes(text)
        hand_over(folder, order.account)
        if order.validation:
            bell.hang(folder.control)
        order.write(folder.control)
    except OSError as error:
        raise JobError(error.strerror or str(error), where=str(folder.path)) from error


async def _start_supervisor(order: Order, control: Path) -> str:
    """Start the supervisor; return what it complains of once it stands on its own or has failed to."""
    try:
        process = await asyncio.create_subprocess_exec(
            *scope_command(order.unit, order.limits),
            *program.command("supervisor", str(control)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            cwd="/",
            env=program.ENVIRONMENT,
        )
    except OSError as error:  # no more processes, no more memory, a damaged program
        reason = f"its supervisor cannot be started: {error.strerror or error}"
        raise JobError(reason, where=order.unit) from error
    try:
        async with asyncio.timeout(START_SECONDS):
            _, errors = await process.communicate()
    except TimeoutError as error:
        if await _give_up(control):
            raise JobError("its supervisor does not start", where=order.unit) from error
        return ""  # it has begun meanwhile
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return errors.decode(errors="replace").strip().rpartition("\n")[2]


async def _give_up(control: Path) -> bool:
    """Keep a supervisor that is late from beginning; False if it has begun.

    On a full disk this waits until there is room: before, nobody can say that the job does not run.
    """
    while True:
        try:
            return await asyncio.to_thread(Beginning().write_once, control)
        except FileNotFoundError:
            return True  # without its folder of control it cannot begin
        except OSError as error:
            log.error("a job cannot be given up", control=str(control), reason=error.strerror)
            await asyncio.sleep(PAUSE)
