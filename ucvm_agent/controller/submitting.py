"""The command `submit`: from the words of a command line to jobs in the queue, and to their ends."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import re
import shlex
import sys
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pydantic import ValidationError

from ucvm_agent.controller import tables
from ucvm_agent.controller.client import Client, segment
from ucvm_agent.controller.model import Description, Input, Job, JobStatus, Limits
from ucvm_agent.controller.web.bodies import JobPage, Submission
from ucvm_agent.errors import ActionError, UsageError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
SCHEMES = ("http", "https", "s3", "chirp", "file")
"""Of the URLs that an agent can fetch."""

_BYTES = re.compile(r"(\d+)([KMGT]?)", re.IGNORECASE)


async def submit(client: Client, arguments: argparse.Namespace) -> int:
    """Submit jobs; with --wait exit code 5 if one of them was not done.

    Each gets its id here, so that asking again after a broken connection makes no second one.
    """
    files = await asyncio.to_thread(_files, arguments)
    for file in files.values():
        if file.path is not None:
            await client.upload(file.path, file.input.sha256)
    description = _description(arguments, files)
    submitted = []
    try:
        for job_id in _ids(arguments):
            submitted.append(await client.post("jobs", Job, Submission(description=description, id=job_id)))
            if "json" not in arguments:
                print(job_id, flush=True)
        if "wait" in arguments:
            submitted = await _ended(client, submitted, quiet="json" in arguments)
    except asyncio.CancelledError:  # by ^C
        print("what is submitted goes on (`ucvm-controller cancel ID` ends a job)", file=sys.stderr)
        raise
    if "json" in arguments:
        print(JobPage(jobs=tuple(submitted)).model_dump_json(indent=2))
    done = all(job.status is JobStatus.DONE for job in submitted)
    return 0 if done or "wait" not in arguments else ActionError.exit_code


@dataclass(frozen=True, slots=True)
class _File:
    """An input file.

    Arguments:
        path: where it is here; None if it is elsewhere.
    """

    input: Input
    path: Path | None = None


def _files(arguments: argparse.Namespace) -> dict[str, _File]:
    """Return all input files by their names; the programs are among them. May block.

    Raises:
        UsageError: one cannot be read, or two have one name.
    """
    files: dict[str, _File] = {}
    programs = [arguments.program, *filter(None, [getattr(arguments, "validate", "")])]
    for place in (*getattr(arguments, "input", ()), *programs):
        if place in files:
            continue  # a program that was given as an input
        file = _file(place, is_program=place in programs)
        name = file.input.name
        if files.setdefault(name, file) != file:
            raise UsageError("two input files have one name", where=tables.clean(name))
    return files


def _file(place: str, *, is_program: bool) -> _File:
    if "://" in place:
        if (scheme := urlsplit(place).scheme.lower()) not in SCHEMES:
            hint = f"use {', '.join(SCHEMES)}"
            raise UsageError(f"agents fetch nothing by {scheme}", where=tables.clean(place), hint=hint)
        name = unquote(urlsplit(place).path.rpartition("/")[2])
        if not name:
            raise UsageError("a URL that names no file", where=tables.clean(place))
        return _File(Input(name=name, url=place))
    path = Path(place)
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        absent = isinstance(error, FileNotFoundError) and is_program
        hint = "the program of a job is sent along: name a file here, such as ./run.sh" if absent else ""
        raise UsageError(f"cannot be read: {error.strerror}", where=tables.clean(place), hint=hint) from None
    return _File(Input(name=path.name, sha256=digest), path)


def _description(arguments: argparse.Namespace, files: dict[str, _File]) -> Description:
    validate = getattr(arguments, "validate", "")
    return Description(
        command=_name(arguments.program),
        arguments=shlex.join(arguments.arguments),
        environment="\n".join(map(_export, getattr(arguments, "env", ()))),
        packages=tuple(getattr(arguments, "package", ())),
        inputs=tuple(file.input for file in files.values()),
        validation_script=_name(validate) if validate else "",
        limits=_limits(arguments),
    )


def _limits(arguments: argparse.Namespace) -> Limits:
    names = {"wall": "wall_seconds", "memory": "memory_bytes", "cpus": "cpus"}
    try:
        return Limits.model_validate({names[key]: value for key, value in vars(arguments).items() if key in names})
    except ValidationError:
        raise UsageError("a limit is more than 0", where=", ".join(f"--{name}" for name in names)) from None


def _name(place: str) -> str:
    """Return what an input file is called where the job runs."""
    return unquote(urlsplit(place).path.rpartition("/")[2]) if "://" in place else Path(place).name


def _export(setting: str) -> str:
    """Return the line of shell that sets a variable of the environment."""
    name, equals, value = setting.partition("=")
    if not equals or not _NAME.fullmatch(name):
        raise UsageError("not a variable", where=tables.clean(setting), hint="--env NAME=VALUE")
    return f"export {name}={shlex.quote(value)}"


def size(text: str) -> int:
    """Return a number of bytes, written as `512M` or `2G` perhaps.

    Raises:
        ValueError: it is none.
    """
    match = _BYTES.fullmatch(text)
    if match is None:
        raise ValueError(text)
    return int(match[1]) << 10 * " KMGT".index(match[2].upper() or " ")


def _ids(arguments: argparse.Namespace) -> Sequence[str]:
    """Return an id for each job; of several with one name each has a number."""
    count, given = getattr(arguments, "count", 1), getattr(arguments, "id", "")
    if not given:
        return [str(uuid.uuid4()) for _ in range(count)]
    return [given] if count == 1 else [f"{given}-{number}" for number in range(1, count + 1)]


async def _ended(client: Client, jobs: Iterable[Job], *, quiet: bool) -> list[Job]:
    """Return the jobs when all have ended, and tell of each when it does."""
    known = {job.id: job for job in jobs}

    def note(job: Job) -> None:
        if job.id in known and not known[job.id].ended:
            known[job.id] = job
            if job.ended and not quiet:
                print(tables.clean(": ".join(filter(None, (f"{job.id} {job.status}", job.reason)))), flush=True)

    async def watch() -> None:
        async for kind, data in client.follow("feed"):
            if kind == "job":
                note(Job.model_validate(data))
            elif kind in ("open", "missed"):
                for job in [each for each in known.values() if not each.ended]:
                    note(await client.get(f"jobs/{segment(job.id)}", Job))
            if all(job.ended for job in known.values()):
                return

    await client.persist(watch)
    return list(known.values())
