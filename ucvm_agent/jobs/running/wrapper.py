"""The script that runs a job's command (references/copilot-protocol.md, section 3.4, point 3).

Environment and arguments are shell text by design and stand in it as they are; so does what the programs of
environment modules print for a package. All else is quoted. The script runs as the account of jobs.
"""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import structlog

from ucvm_agent.errors import JobError
from ucvm_agent.jobs.running.account import Account
from ucvm_agent.jobs.running.job import Job, package_name
from ucvm_agent.jobs.running.tool import run_tool

log = structlog.get_logger()

PACKAGE_PROGRAMS = (("alienv", "print"), ("modulecmd", "sh", "load"))
"""Programs that print the shell text which sets a package up; the first that is there is asked."""

PROGRAM_PATH = "/usr/local/bin:/usr/bin:/bin:/cvmfs/alice.cern.ch/bin"
"""Where they are looked for."""

PACKAGE_SECONDS = 120.0
"""For one package; its files may have to come over CernVM-FS first."""

MAX_SETUP = 1024**2
"""Bytes of shell text for one package."""


async def compose(job: Job, folder: Path, account: Account) -> bytes:
    """Return the wrapper of a job that is going to run in `folder`.

    Raises:
        JobError: a package cannot be set up here.
    """
    program = _package_program() if job.packages else ()
    setup = [b"#!/bin/sh"]
    for package in job.packages:
        name = package_name(package)
        setup += [f"# package {name}".encode(errors="replace"), await _setup(program, name, account)]
    command = shlex.quote(f"./{job.command}")
    lines = [
        job.environment,
        f"cd {shlex.quote(str(folder))}",
        f"chmod a+x {shlex.quote(job.command)}",
        f"{command} {job.arguments}",
    ]
    return b"\n".join([*setup, "\n".join([*lines, ""]).encode(errors="replace")])


def _package_program() -> tuple[str, ...]:
    for name, *arguments in PACKAGE_PROGRAMS:
        if path := shutil.which(name, path=PROGRAM_PATH):
            return (path, *arguments)
    names = " nor ".join(name for name, *_ in PACKAGE_PROGRAMS)
    raise JobError(f"the job needs packages, and this machine has neither {names}", hint=f"in {PROGRAM_PATH}")


async def _setup(program: tuple[str, ...], package: str, account: Account) -> bytes:
    """Return the shell text that sets a package up; the program runs with the rights of jobs."""
    log.info("setting up package", package=package, program=program[0])
    options = {"env": account.environment("/"), **account.rights()}
    try:
        status, text, errors = await run_tool(*program, package, seconds=PACKAGE_SECONDS, most=MAX_SETUP, **options)
    except JobError as error:
        raise JobError(f"the package could not be set up: {error.message}", where=package) from error
    if status or not text.strip():  # modulecmd ends with 0 where it does not find one
        raise JobError(f"the package could not be set up: {errors[-200:]}", where=package)
    return text
