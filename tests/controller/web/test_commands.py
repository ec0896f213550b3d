"""The command line, as it is used: a process that asks a controller."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import pty
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.controller.web.site import Api, client, free_address, lonely_controller
from tests.controller.web.test_figures import HOSTILE, present, record
from tests.controller.web.test_jobs import FETCHED, archive, finish, submit, take
from ucvm_agent.controller.controller import Controller
from ucvm_agent.controller.model import JobStatus, Result
from ucvm_agent.controller.web.site import open_site
from ucvm_agent.events import JobChanged, JobPhase, Note, State, StateChanged

SCRIPT = "#!/bin/sh\necho hello\n"


@dataclass
class Run:
    """How a command has ended."""

    code: int
    out: str
    errors: str

    @property
    def json(self) -> Any:
        """What it printed for programs."""
        return json.loads(self.out)


class Shell:
    """Starts commands in a folder."""

    def __init__(self, api: Api, folder: Path) -> None:
        self._folder = folder
        self._environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.environ.get("PYTHONPATH", str(Path(__file__).parents[3])),
            "UCVM_CONTROLLER_CLIENT__URL": api.url,
            "UCVM_CONTROLLER_CLIENT__TOKEN": api.token,
            "http_proxy": "http://127.0.0.1:1",  # no proxy stands before loopback
        }

    async def __call__(self, *arguments: str, **environment: str) -> Run:
        """Run a command to its end."""
        async with self.start(*arguments, environment=environment) as process:
            out, errors = await process.communicate()
            return Run(process.returncode or 0, out.decode(), errors.decode())

    @asynccontextmanager
    async def start(
        self, *arguments: str, stdout: int = PIPE, environment: Mapping[str, str] = {}
    ) -> AsyncIterator[Process]:
        """Start a command, which ends with the block at the latest."""
        code = "from ucvm_agent.controller.cli import main; main()"
        process = await asyncio.create_subprocess_exec(
            # Who started the tests in the background may have had Ctrl-C ignored.
            *("env", "--default-signal=INT", sys.executable, "-c", code, *arguments),
            cwd=self._folder,
            env={**self._environment, **environment},
            stdout=stdout,
            stderr=PIPE,
        )
        try:
            async with asyncio.timeout(60):
                yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.communicate()


@pytest.fixture
def shell(api: Api, tmp_path: Path) -> Shell:
    """A folder with a program in it."""
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "run.sh").write_text(SCRIPT)
    return Shell(api, folder)


async def test_a_job_is_submitted_with_all_it_needs(shell: Shell, manager: Controller, tmp_path: Path) -> None:
    """Programs and inputs are uploaded; what a person writes is data, not shell."""
    (tmp_path / "work/check.sh").write_text("exit 0")
    inputs = ("--input", "https://data.example/a%20b.root?x=1", "--validate", "check.sh", "--package", "VO@R::v6")
    limits = ("--wall", "60", "--memory", "2G", "--cpus", "1.5")
    run = await shell(
        "submit", *inputs, *limits, "--env", "SEED=a b;c", "--id", "j", "./run.sh", "-n", "$(reboot)", "--json"
    )
    assert (run.code, run.out) == (0, "j\n"), run.errors
    job = await manager.ledger.job("j")
    assert job is not None
    told = job.description
    assert (told.command, told.arguments) == ("run.sh", "-n '$(reboot)' --json")
    assert told.environment == "export SEED='a b;c'"
    assert told.input_files == ("a b.root", "run.sh", "check.sh")
    assert (told.limits.wall_seconds, told.limits.memory_bytes, told.limits.cpus) == (60, 2 * 1024**3, 1.5)
    assert (tmp_path / "chirp" / job.description.input_dir / "run.sh").read_text() == SCRIPT


async def test_several_copies_share_their_inputs(shell: Shell, manager: Controller, tmp_path: Path) -> None:
    """Each has an id, and JSON tells all of them."""
    run = await shell("submit", "--json", "--count", "3", "--id", "fit", "run.sh")
    assert [job["id"] for job in run.json["jobs"]] == ["fit-1", "fit-2", "fit-3"]
    assert len(list((tmp_path / "state/files/inputs").iterdir())) == 1
    again = await shell("submit", "--id", "fit-1", "run.sh")
    assert (again.code, "submitted before" in again.errors) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("missing.sh",), "missing.sh: cannot be read: No such file or directory (the program of a job is sent along"),
        (("--input", "missing", "run.sh"), "missing: cannot be read: No such file or directory\n"),
        (("--env", "1=2", "run.sh"), "not a variable"),
        (("--cpus", "0", "run.sh"), "more than 0"),
        (("--count", "0", "run.sh"), "from 1 on"),
        (("--memory", "much", "run.sh"), "not a number of bytes, such as 512M or 2G: much"),
        (("--input", "ftp://x.example/y", "run.sh"), "agents fetch nothing by ftp"),
        (("--input", "/etc/hosts", "--input", "https://x.example/hosts", "run.sh"), "two input files"),
        (("--input", "https://x.example/", "run.sh"), "names no file"),
    ],
)
async def test_what_cannot_be_submitted_is_said(shell: Shell, arguments: tuple[str, ...], says: str) -> None:
    """Exit code 2."""
    run = await shell("submit", *arguments)
    assert (run.code, says in run.errors) == (2, True), run.errors
    assert "Traceback" not in run.errors


async def test_submit_waits_for_the_end(shell: Shell, manager: Controller) -> None:
    """Exit code 0 if all are done, and 5 if one is not."""
    for status, code in ((0, 0), (256, 5)):
        async with shell.start("submit", "--wait", "run.sh") as process:
            assert process.stdout is not None
            job_id = (await process.stdout.readline()).decode().strip()
            job = await take(manager)
            assert job.id == job_id
            await finish(manager, job, status)
            told = (await process.stdout.readline()).decode()
            assert f"{job_id} {'failed' if status else 'done'}" in told
            assert await process.wait() == code


async def test_who_stops_waiting_is_told_that_the_job_goes_on(shell: Shell, manager: Controller) -> None:
    """^C ends the waiting only."""
    async with shell.start("submit", "--wait", "run.sh") as process:
        assert process.stdout is not None
        job_id = (await process.stdout.readline()).decode().strip()
        process.send_signal(signal.SIGINT)
        _, errors = await process.communicate()
    assert process.returncode == 130
    assert b"goes on" in errors
    assert b"Traceback" not in errors
    job = await manager.ledger.job(job_id)
    assert job is not None
    assert job.status is JobStatus.WAITING


async def test_waiting_outlives_a_restart_of_the_controller(tmp_path: Path) -> None:
    """What ended meanwhile is noticed."""
    (tmp_path / "run.sh").write_text(SCRIPT)
    address = free_address()
    async with lonely_controller(tmp_path, listen=address) as manager, AsyncExitStack() as later:
        async with open_site(manager) as url, client(manager, url) as api:
            process = await later.enter_async_context(Shell(api, tmp_path).start("submit", "--wait", "run.sh"))
            assert process.stdout is not None
            await process.stdout.readline()
            job = await take(manager)
        await finish(manager, job)
        async with open_site(manager):
            assert await process.wait() == 0


async def test_jobs_and_vms_are_tables_that_fit(shell: Shell, api: Api, manager: Controller) -> None:
    """Whatever others have chosen for names; programs get JSON."""
    await submit(api, {**FETCHED, "arguments": "-n 1"}, "j")
    assert "waits for   an agent of ours" in (await shell("job", "j")).out
    job = await take(manager)
    await present(manager, "m1", "wn01.example.org", StateChanged(state=State.DEGRADED, reason=f"{HOSTILE}\x1b[2J"))
    run = await shell("jobs", "--status", "running")
    assert run.out.splitlines()[1].split() == ["running", "j", *_age(run.out), "vm1", "run.sh", "-n", "1"]
    assert (await shell("jobs", "--json")).json["jobs"][0]["id"] == "j"
    run = await shell("vms")
    assert "wn01.example.org" in run.out
    assert "\x1b" not in run.out
    assert f"{HOSTILE}?[2J" in run.out
    assert "f" not in (await shell("vm", "wn01")).errors
    assert (await shell("vm", "m1", "--json")).json["jobs"] == ["j"]
    unknown = await shell("vm", "nowhere")
    assert (unknown.code, "no such VM" in unknown.errors) == (2, True)
    shown = (await shell("job", "j")).out
    assert "1 of 3" in shown
    assert job.token.get_secret_value() not in shown
    assert job.lease is not None
    await manager.ledger.give_back("j", job.lease.id, "no scratch disk", now=job.changed)
    await take(manager)
    run = await shell("jobs", "--status", "running")
    assert run.out.splitlines()[1].split() == ["running", "j", *_age(run.out), "vm1", "run.sh", "-n", "1"]
    await present(manager, "m1", "wn01.example.org", JobChanged(job_id="j", slot=1, phase=JobPhase.INPUT))
    await present(manager, "m1", "wn01.example.org", Note(message="an input of job j is delayed: http://x/y: away"))
    await present(manager, "m1", "wn01.example.org", Note(message="an input of job jj is delayed"))
    lines = (await shell("job", "j")).out.splitlines()
    assert "before      no scratch disk" in lines
    assert lines[1].startswith("status      running (input), ")
    assert "note        an input of job j is delayed: http://x/y: away" in lines


async def test_a_controller_that_hears_nobody_is_not_shown_as_if_all_were_well(
    shell: Shell, api: Api, manager: Controller
) -> None:
    """People are told on standard error, and programs are not; what a VM would have to hear cannot be done now."""
    await submit(api, id="j")
    for command in (("vms",), ("jobs",), ("job", "j")):
        assert "no connection to its XMPP server" in (await shell(*command)).errors
        assert (await shell(*command, "--json")).errors == ""
    await present(manager, "m1", "wn01.example.org", Note(message="x"))
    folder = manager.settings.contexts.folder
    assert folder is not None
    (folder / "default.context").write_text("#!/bin/sh\n")
    for options in ((), ("--dry-run",)):
        pushed = await shell("push", "m1", *options)
        assert (pushed.code, "no XMPP connection" in pushed.errors) == (7, True), pushed.errors


def _age(table: str) -> list[str]:
    return table.splitlines()[1].split()[2:4]


async def test_a_terminal_gets_colour_and_eighty_columns(shell: Shell, api: Api, manager: Controller) -> None:
    """Unless NO_COLOR says otherwise."""
    await submit(api, {**FETCHED, "arguments": "x" * 500}, "j")
    for environment, coloured in ({}, True), ({"NO_COLOR": "1"}, False):
        primary, secondary = pty.openpty()
        async with shell.start("jobs", stdout=secondary, environment={"COLUMNS": "80", **environment}) as process:
            os.close(secondary)
            assert await process.wait() == 0
        text = os.read(primary, 100_000).decode()
        os.close(primary)
        assert ("\x1b[33mwaiting" in text) == coloured
        if not coloured:
            assert max(map(len, text.splitlines())) == 80


async def test_output_is_printed_and_fetched(shell: Shell, api: Api, manager: Controller, tmp_path: Path) -> None:
    """The archive only if it is what the VM has sent."""
    await submit(api, id="j")
    job = await take(manager)
    assert (await shell("job", "j", "--log")).code == 2
    packed = archive(stdout=b"hello\xff\n", stderr=b"oh\n")
    await api.ask("PUT", "/files/j/j.tgz", token=job.token.get_secret_value(), data=packed)
    assert job.lease is not None
    sha256 = hashlib.sha256(packed).hexdigest()
    result = Result(lease=job.lease.id, agent="vm@x/r", exit_status=0, ended=job.changed, checksum=sha256)
    await manager.ledger.finish("j", result)
    assert (await shell("job", "j", "--log", "--stderr")).out == "oh\n"
    assert (await shell("job", "j", "--output", "out.tgz")).code == 0
    assert (tmp_path / "work/out.tgz").read_bytes() == packed
    kept = next((tmp_path / "state/files/archives").rglob("j.tgz"))
    kept.write_bytes(b"something else")
    assert (await shell("job", "j", "--output", "other.tgz")).code == 2
    assert sorted(path.name for path in (tmp_path / "work").iterdir()) == ["out.tgz", "run.sh"]


async def test_events_are_followed(shell: Shell, manager: Controller) -> None:
    """Those that there are, and then those that come."""
    await record(manager, "m1", 1, State.READY)
    async with shell.start("events", "--follow") as process:
        assert process.stdout is not None
        assert b"ready" in await process.stdout.readline()
        await record(manager, "m1", 2, State.FAILED, "no disk")
        assert b"failed: no disk" in await process.stdout.readline()
    assert len((await shell("events", "--json", "--vm", "m1")).json["events"]) == 2


async def test_jobs_are_cancelled(shell: Shell, api: Api, manager: Controller) -> None:
    """With a reason, once."""
    await submit(api, id="j")
    assert (await shell("cancel", "j", "--reason", "no more")).out == "job j is cancelled\n"
    job = await manager.ledger.job("j")
    assert job is not None
    assert (job.status, job.reason) == (JobStatus.CANCELLED, "no more")
    assert "has ended already" in (await shell("cancel", "j")).errors
    unknown = (await shell("cancel", "other/job")).errors
    assert unknown == "ucvm-controller: job other/job: no such job (`ucvm-controller jobs` lists them)\n"


async def test_jobs_and_vms_are_forgotten(shell: Shell, api: Api, manager: Controller) -> None:
    """Several jobs at once, as soon as they have ended; a VM by the name that people use."""
    for name in ("a", "b", "c"):
        await submit(api, id=name)
    await finish(manager, await take(manager))
    await finish(manager, await take(manager))
    run = await shell("forget", "a", "b", "c")
    assert (run.code, run.out.splitlines()) == (2, ["job a is forgotten", "job b is forgotten"])
    assert "job c: has not ended" in run.errors
    assert "cancel it first" in run.errors
    assert [job.id for job in await manager.ledger.jobs()] == ["c"]
    await present(manager, "m1", "wn01.example.org", StateChanged(state=State.READY))
    await record(manager, "m1", 2)
    assert "refused     1 messages from others, last vm@x/r" in (await shell("vm", "wn01")).out
    assert (await shell("forget-vm", "wn01")).out == "wn01.example.org is forgotten\n"
    assert await manager.ledger.machine("m1") is None


async def test_why_a_controller_cannot_be_asked(shell: Shell, api: Api, tmp_path: Path) -> None:
    """It is away, or the token is not its own, or is not to be had."""
    away = await shell("jobs", "--url", "http://127.0.0.1:1")
    assert (away.code, "cannot be reached" in away.errors) == (7, True)
    refused = await shell("jobs", UCVM_CONTROLLER_CLIENT__TOKEN="wrong")
    assert (refused.code, "does not accept the token" in refused.errors) == (2, True)
    absent = await shell("jobs", "--token-file", str(tmp_path / "none"), UCVM_CONTROLLER_CLIENT__TOKEN="")
    assert (absent.code, "there is no token" in absent.errors) == (2, True)
    here = await shell("jobs", "--token-file", str(tmp_path / "state/token"), UCVM_CONTROLLER_CLIENT__TOKEN="")
    assert here.code == 0
    assert api.token not in away.errors + refused.errors


async def test_serve_opens_the_site_and_closes_it_in_order(tmp_path: Path, api: Api) -> None:
    """Readers of streams do not hold the end up; an address that is taken is an error of the settings."""
    folder, address = tmp_path / "serve", free_address()
    folder.mkdir()
    shell = Shell(api, folder)
    environment = {
        "UCVM_CONTROLLER_STATE_DIR": str(folder / "state"),
        "UCVM_CONTROLLER_XMPP__JID": "jm@nowhere.example",
        "UCVM_CONTROLLER_XMPP__HOST": "127.0.0.1",
        "UCVM_CONTROLLER_XMPP__PORT": "1",
        "UCVM_CONTROLLER_HTTP__LISTEN": address,
        "UCVM_CONTROLLER_CLIENT__URL": "",
        "UCVM_CONTROLLER_CLIENT__TOKEN": "",
        "UCVM_CONTROLLER_LOG__FORMAT": "json",
    }
    async with shell.start("serve", environment=environment) as process:
        assert process.stderr is not None
        while b"the page and the API are served" not in await process.stderr.readline():
            pass
        assert (await shell("jobs", **environment)).code == 0
        taken = await shell("serve", **{**environment, "UCVM_CONTROLLER_STATE_DIR": str(folder / "other")})
        assert (taken.code, "cannot be listened to" in taken.errors) == (2, True), taken.errors
        token = (folder / "state/token").read_text().strip()
        headers = {"Authorization": f"Bearer {token}"}
        async with api.session.get(f"http://{address}/api/v1/feed", headers=headers) as stream:
            assert await stream.content.readline()
            process.terminate()
            await stream.content.read()
            assert (await process.communicate(), process.returncode)[1] == 0
