"""The commands that ask a controller over HTTP; like `cli.py`, they print."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import sys
from base64 import b64decode
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeAlias

from pydantic import BaseModel

from ucvm_agent.controller import tables
from ucvm_agent.controller.client import Client, connect, segment
from ucvm_agent.controller.model import Entry, Job, JobStatus, Machine
from ucvm_agent.controller.naming import MACHINES, named
from ucvm_agent.controller.settings import Settings
from ucvm_agent.controller.submitting import submit
from ucvm_agent.controller.tables import Screen
from ucvm_agent.controller.web.bodies import Cancellation, Draining, Entries, JobPage, Machines, Overview, Plan, Pushed
from ucvm_agent.errors import UsageError, UserDataError

PAGE = 500
"""Jobs, or events, that are asked for at once."""

LOOKS = ("submit", "jobs", "job", "vms", "vm")
"""Commands whose answers, or whose waiting, are misunderstood while the controller hears no VM."""

Command: TypeAlias = Callable[[Client, argparse.Namespace], Awaitable[int]]


async def run(settings: Settings, arguments: argparse.Namespace) -> int:
    """Do what the command line says, and return the exit code.

    Raises:
        UsageError: it cannot be done; ControllerAway: not now.
    """
    async with connect(settings) as client:
        people_look = arguments.name in LOOKS and "json" not in arguments
        if people_look and not (await client.get("summary", Overview)).connected:
            deaf = "it has no connection to its XMPP server: it hears no VM, and hands out no jobs; its log says why"
            print(f"ucvm-controller: warning: {deaf}", file=sys.stderr)
        return await COMMANDS[arguments.name](client, arguments)


async def jobs(client: Client, arguments: argparse.Namespace) -> int:
    """List jobs."""
    wanted = getattr(arguments, "limit", 50)
    found: list[Job] = []
    page = JobPage(jobs=(), next="")
    while len(found) < wanted and (page.next or not found):
        status = getattr(arguments, "status", "")
        page = await client.get("jobs", JobPage, status=status, limit=min(PAGE, wanted - len(found)), before=page.next)
        found += page.jobs
        if not page.jobs:
            break
    if "json" in arguments:
        _print_json(JobPage(jobs=tuple(found), next=page.next))
    else:
        _print(_screen().table(tables.JOB_TITLES, map(tables.job_row, found)))
    return 0


async def job(client: Client, arguments: argparse.Namespace) -> int:
    """Show a job, its output, or fetch its archive."""
    path = f"jobs/{segment(arguments.id)}"
    found = await client.get(path, Job)
    if "output" in arguments:
        await _download(client, found, arguments.output)
    elif "follow" in arguments or "log" in arguments:
        if "log" in arguments and found.status is JobStatus.RUNNING:
            raise UsageError("is running still", where=f"job {found.id}", hint="--follow shows what it writes")
        await _follow_log(client, path, "stderr" if "stderr" in arguments else "stdout")
    elif "json" in arguments:
        _print_json(found)
    else:
        machine = found.lease.machine_id if found.lease and found.status is JobStatus.RUNNING else ""
        told = (await client.get("events", Entries, vm=machine, limit=PAGE)).events if machine else ()
        _print(tables.job_details(found, told))
    return 0


async def vms(client: Client, arguments: argparse.Namespace) -> int:
    """List VMs."""
    found = await client.get("vms", Machines, limit=MACHINES)
    if "json" in arguments:
        _print_json(found)
    else:
        _print(_screen().table(tables.MACHINE_TITLES, map(tables.machine_row, found.vms)))
    return 0


async def vm(client: Client, arguments: argparse.Namespace) -> int:
    """Show a VM."""
    machine = await named(client, arguments.vm)
    if "json" in arguments:
        _print_json(machine)
    else:
        _print(tables.machine_details(machine))
    return 0


async def events(client: Client, arguments: argparse.Namespace) -> int:
    """List events, or follow them."""
    machine_id = (await named(client, arguments.vm)).machine_id if "vm" in arguments else ""
    found = await client.get("events", Entries, vm=machine_id, limit=getattr(arguments, "limit", 50))
    if "follow" in arguments:
        await _follow_events(client, machine_id, found, as_json="json" in arguments)
    elif "json" in arguments:
        _print_json(found)
    else:
        _print(_screen().table(tables.EVENT_TITLES, map(tables.event_row, found.events)))
    return 0


async def cancel(client: Client, arguments: argparse.Namespace) -> int:
    """End a job."""
    reason = Cancellation(reason=arguments.reason) if "reason" in arguments else Cancellation()
    ended = await client.post(f"jobs/{segment(arguments.id)}/cancel", Job, reason)
    _tell(arguments, ended, f"job {ended.id} is cancelled")
    return 0


async def drain(client: Client, arguments: argparse.Namespace) -> int:
    """Let a VM finish its jobs and take no more."""
    machine = await named(client, arguments.vm)
    draining = Draining(reason=getattr(arguments, "reason", ""))
    machine = await client.post(f"vms/{segment(machine.machine_id)}/drain", Machine, draining)
    _tell(arguments, machine, f"{machine.host or machine.machine_id} is told to finish its jobs and take no more")
    return 0


async def resume(client: Client, arguments: argparse.Namespace) -> int:
    """Let a VM take jobs again."""
    machine = await named(client, arguments.vm)
    machine = await client.post(f"vms/{segment(machine.machine_id)}/resume", Machine)
    _tell(arguments, machine, f"{machine.host or machine.machine_id} is told to take jobs again")
    return 0


async def push(client: Client, arguments: argparse.Namespace) -> int:
    """Tell a VM of its context, or have the plan that it makes of it."""
    machine = await named(client, arguments.vm)
    path = f"vms/{segment(machine.machine_id)}"
    if "dry_run" not in arguments:
        pushed = await client.post(f"{path}/push", Pushed)
        condition = "which it takes if it is newer than its own, and that is from a controller, too"
        _tell(arguments, pushed, f"{machine.host or machine.machine_id} is told of its context, {condition}")
        return 0
    plan = await client.post(f"{path}/rehearse", Plan)
    if "json" in arguments:
        print(json.dumps(plan.plan, indent=2, ensure_ascii=False))
    else:
        _print(tables.plan_lines(plan.plan))
    return UserDataError.exit_code if tables.has_errors(plan.plan) else 0


async def forget(client: Client, arguments: argparse.Namespace) -> int:
    """Remove jobs that have ended, with their inputs and their output."""
    for job_id in arguments.id:
        await client.delete(f"jobs/{segment(job_id)}")
        if "json" not in arguments:
            print(tables.clean(f"job {job_id} is forgotten"), flush=True)
    return 0


async def forget_vm(client: Client, arguments: argparse.Namespace) -> int:
    """Remove a VM and its events; any account may report for it then."""
    machine = await named(client, arguments.vm)
    await client.delete(f"vms/{segment(machine.machine_id)}")
    if "json" not in arguments:
        print(tables.clean(f"{machine.host or machine.machine_id} is forgotten"))
    return 0


COMMANDS: dict[str, Command] = {
    call.__name__.replace("_", "-"): call
    for call in (submit, jobs, job, vms, vm, events, cancel, drain, resume, push, forget, forget_vm)
}


# Following


async def _follow_log(client: Client, path: str, stream: str) -> None:
    """Print what a job writes, until it has ended; a broken connection is taken up where it broke."""
    offset = 0

    async def watch() -> None:
        nonlocal offset
        async for kind, data in client.follow(f"{path}/log", stream=stream, offset=offset):
            if kind == "problem":
                raise UsageError(data["error"])
            if kind == "output":
                piece = b64decode(data["data"])
                _write(piece)
                offset = data["offset"] + len(piece)
                if data["end"]:
                    return

    await client.persist(watch)


async def _follow_events(client: Client, machine_id: str, found: Entries, *, as_json: bool) -> None:
    """Print the events that there are, and those that come, for ever; none twice."""
    last = 0

    def show(entry: Entry) -> None:
        nonlocal last
        last = entry.number
        line = "  ".join(map(tables.clean, tables.event_row(entry)))
        print(entry.model_dump_json() if as_json else line, flush=True)

    for entry in found.events:
        show(entry)

    async def watch() -> None:
        async for kind, data in client.follow("events/follow", vm=machine_id, after=last):
            if kind == "event":
                show(Entry.model_validate(data))

    await client.persist(watch)


async def _download(client: Client, job: Job, target: Path) -> None:
    """Fetch the archive of a job; it is whole, and what the VM has put, or not there."""
    digest = hashlib.sha256()
    expected = job.result.checksum if job.result else ""
    with _whole(target) as file:

        def write(data: bytes) -> None:
            digest.update(data)
            file.write(data)

        await client.download(f"jobs/{segment(job.id)}/output", write)
        if expected and expected != digest.hexdigest():
            hint = "its SHA-256 differs"
            raise UsageError("the archive is not what the VM has sent", where=f"job {job.id}", hint=hint)


@contextmanager
def _whole(target: Path) -> Iterator[BinaryIO]:
    """Yield a file that gets its name at the end of the block, unless that fails.

    Raises:
        UsageError: it cannot be written.
    """
    partial = target.with_name(f".{target.name}.partial")
    try:
        with partial.open("wb") as file:
            yield file
        partial.replace(target)
    except OSError as error:
        raise UsageError(f"cannot be written: {error.strerror}", where=str(target)) from None
    finally:
        partial.unlink(missing_ok=True)


# Printing


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        print(line)


def _print_json(model: BaseModel) -> None:
    print(model.model_dump_json(indent=2))


def _tell(arguments: argparse.Namespace, answer: BaseModel, sentence: str) -> None:
    if "json" in arguments:
        _print_json(answer)
    else:
        print(tables.clean(sentence))


def _write(data: bytes) -> None:
    """Write what a job has written: as it is for programs, harmless for a terminal."""
    if sys.stdout.isatty():
        text = data.decode(errors="replace")
        print("\n".join(map(tables.clean, text.split("\n"))), end="", flush=True)
    else:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def _screen() -> Screen:
    terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if terminal else None
    return Screen(width, color=terminal and "NO_COLOR" not in os.environ)
