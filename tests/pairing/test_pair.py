"""Pairing as a person does it: at the command line, by a pipe, and at a console."""

from __future__ import annotations

import asyncio
import os
import pty
import sys
import termios
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.daemon.running import AGENT, Controller, Daemon
from tests.servers.online import CONTEXT_ID, Online, context_file
from ucvm_agent.events import Note

CONTEXT = context_file(b"#cloud-config\nhostname: paired\n", name="Big Data")
SECRET = "higgs field"


@pytest.fixture
async def online() -> AsyncIterator[Online]:
    async with Online() as online:
        yield online


@pytest.fixture
async def daemon(tmp_path: Path, online: Online, controller: Controller) -> AsyncIterator[Daemon]:
    (tmp_path / "root/etc").mkdir(parents=True)
    async with Daemon(tmp_path, tmp_path / "root") as daemon:
        daemon.configure(
            controller,
            sources={"names": ["cernvm_online"], "deadline": 0.5, "search_pause": 300},
            **{"sources.cernvm_online": {"url": online.url, "insecure": True}},
        )
        yield daemon


IMPATIENT = """
import sys
from ucvm_agent.cli.main import main
from ucvm_agent.pairing import console
console.FAILURE_SECONDS = 0.0
if "--quick" in sys.argv:
    sys.argv.remove("--quick")
    console.IDLE_SECONDS = console.SECRET_SECONDS = 0.5
main()
"""
"""The program, but for its pauses."""


class Terminal:
    """The program on a terminal of its own, with shorter pauses."""

    def __init__(self, daemon: Daemon, *arguments: str) -> None:
        self.shown = ""
        # With a controlling terminal, so that ^C is a signal.
        self._command = [
            "setsid",
            "--ctty",
            sys.executable,
            "-c",
            IMPATIENT,
            *arguments,
            "--config",
            str(daemon.config),
        ]
        self._descriptor = -1
        self._read = asyncio.Condition()

    async def __aenter__(self) -> Terminal:
        self._descriptor, other = pty.openpty()
        # On ^C the kernel drops what is not read yet, perhaps also the prompt that answers it.
        attributes = termios.tcgetattr(other)
        attributes[3] |= termios.NOFLSH
        termios.tcsetattr(other, termios.TCSANOW, attributes)
        self._process = await asyncio.create_subprocess_exec(
            *self._command, stdin=other, stdout=other, stderr=other, env={"TERM": "dumb", "PATH": os.defpath}
        )
        os.close(other)
        self._reading = asyncio.create_task(self._follow())
        return self

    async def __aexit__(self, *_: object) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        await self._reading
        os.close(self._descriptor)

    async def _follow(self) -> None:
        while True:
            try:
                text = await asyncio.to_thread(os.read, self._descriptor, 4096)
            except OSError:  # the program has ended
                return
            async with self._read:
                self.shown += text.decode()
                self._read.notify_all()

    async def expect(self, text: str) -> None:
        """Wait until the program has shown a text since the last one that was waited for."""
        async with asyncio.timeout(30), self._read:
            await self._read.wait_for(lambda: text in self.shown)
            self.shown = self.shown.partition(text)[2]

    def type(self, text: str) -> None:
        """Type a text as it is."""
        os.write(self._descriptor, text.encode())

    async def end(self) -> int:
        """Wait for the end of the program, and return its exit code."""
        async with asyncio.timeout(30):
            return await self._process.wait()


async def pipe(daemon: Daemon, given: str, *arguments: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *AGENT,
        *arguments,
        "--config",
        daemon.config,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={},
    )
    async with asyncio.timeout(30):
        output, _ = await process.communicate(given.encode())
    assert process.returncode is not None
    return process.returncode, output.decode()


async def test_a_waiting_daemon_is_told(online: Online, controller: Controller, daemon: Daemon) -> None:
    """It says that it waits for a PIN, contextualizes as soon as there is one, and goes by it at the next start."""
    await daemon.start()
    assert "waiting-for-pin" in (await controller.state("degraded")).reason
    code, output = await pipe(daemon, "", "pair", online.offer(CONTEXT))
    assert (code, output) == (
        0,
        "Paired with the context Big Data; the agent contextualizes this machine now: see `ucvm-agent status`.\n",
    )
    await controller.state("ready")
    assert (daemon.root / "etc/hostname").read_text() == "paired\n"
    notes = [event.body.message for event in controller.events if isinstance(event.body, Note)]
    assert "cernvm_online: paired with the context Big Data" in notes
    assert list(online.machines) == [controller.events[0].machine_id]
    await daemon.end()
    asked = len(online.queries)
    await daemon.start()
    await controller.state("ready", times=2)
    assert len(online.queries) == asked
    other = context_file(b"#cloud-config\nhostname: again\n")
    assert (await pipe(daemon, "", "pair", online.offer(other)))[0] == 0
    await controller.state("ready", times=3)
    assert (daemon.root / "etc/hostname").read_text() == "again\n"
    assert len(online.machines) == 1


async def test_an_encrypted_context_by_a_pipe(online: Online, daemon: Daemon) -> None:
    """The secret comes from standard input, and is left nowhere; what is kept is for root only."""
    pin = online.offer(CONTEXT, secret=SECRET)
    code, output = await pipe(daemon, "wrong\n", "pair", pin, "--secret-stdin")
    assert code == 4
    assert "does not accept the secret" in output
    code, output = await pipe(daemon, "", "pair", pin)
    assert code == 2
    assert "--secret-stdin" in output
    code, output = await pipe(daemon, f"{SECRET}\n", "pair", f"{pin[:3]}-{pin[3:]}", "--secret-stdin")
    assert code == 0
    assert "no agent is running" in output
    kept = daemon.root / "var/lib/ucvm-agent/cernvm-online.context"
    assert kept.stat().st_mode & 0o777 == 0o600
    for path in daemon.folder.rglob("*"):
        if path.is_file() and path != kept:
            content = path.read_bytes()
            assert not any(each in content for each in (SECRET.encode(), pin.encode(), CONTEXT_ID.encode())), path


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("12345",), 2, "PIN of 6 digits"),
        (("123456:secret",), 2, "can be seen by others"),
        (("--secret-stdin",), 2, "PIN has to be on the command line"),
        (("123456",), 4, "ask for a new PIN"),
        (("--console",), 2, "needs a terminal"),
    ],
)
async def test_what_does_not_work(daemon: Daemon, arguments: tuple[str, ...], code: int, said: str) -> None:
    """One line that says what to do, and the exit code of the README."""
    got, output = await pipe(daemon, "", "pair", *arguments)
    assert got == code
    assert said in output
    assert output.count("\n") == 1


async def test_pairing_that_would_have_no_effect(daemon: Daemon) -> None:
    """The settings have to let the source be asked, or the PIN would be wasted."""
    daemon.config.write_text(daemon.config.read_text().replace('"cernvm_online"]', '"file"]'))
    code, output = await pipe(daemon, "", "pair", "123456")
    assert (code, "sources.names" in output) == (2, True)


async def test_a_person_is_asked(online: Online, daemon: Daemon) -> None:
    """For the PIN, and for the secret only if there is one, which is not shown."""
    async with Terminal(daemon, "pair") as terminal:
        await terminal.expect("PIN: ")
        terminal.type(f"{online.offer(CONTEXT, secret=SECRET)}\n")
        await terminal.expect("Secret of the context: ")
        terminal.type(f"{SECRET}\n")
        await terminal.expect("Paired with the context Big Data")
        assert await terminal.end() == 0
        assert SECRET not in terminal.shown


async def test_a_context_by_its_id(online: Online, daemon: Daemon) -> None:
    """The id does not tell that there is a secret; the service does."""
    online.offer(CONTEXT, secret=SECRET, ticket=CONTEXT_ID)
    code, output = await pipe(daemon, f"{SECRET}\n", "pair", CONTEXT_ID, "--secret-stdin")
    assert (code, output.partition(";")[0]) == (0, "Paired with the context Big Data")


async def test_the_console(online: Online, daemon: Daemon) -> None:
    """Nothing that is typed ends it but a PIN that works; it shows where the machine stands."""
    async with Terminal(daemon, "pair", "--console") as terminal:
        await terminal.expect("state: no state yet")
        await terminal.expect("PIN: ")
        terminal.type("\x04")
        await terminal.expect("PIN: ")
        # The line feed, since a ^C between prompt and read(2) is noticed only when that returns.
        terminal.type("\x03\n")
        await terminal.expect("PIN: ")
        terminal.type("#1;reboot\n")
        await terminal.expect("Expected a PIN of 6 digits")
        await terminal.expect("PIN: ")
        pin = online.offer(CONTEXT, secret=SECRET)
        terminal.type(f"{pin}\n")
        await terminal.expect("Secret of the context: ")
        terminal.type("\n")
        await terminal.expect("cannot be empty")
        await terminal.expect("PIN: ")
        terminal.type(f"{pin}\n")
        await terminal.expect("Secret of the context: ")
        terminal.type("wrong\n")
        await terminal.expect("does not accept the secret")
        await terminal.expect("PIN: ")
        terminal.type(f"{pin}\n")
        await terminal.expect("Secret of the context: ")
        terminal.type(f"{SECRET}\n")
        await terminal.expect("This machine is paired.")
        assert await terminal.end() == 0


async def test_a_console_that_nobody_uses(online: Online, daemon: Daemon) -> None:
    """Both prompts give up after a while: a secret is not left waiting, and the banner tells of a new state."""
    async with Terminal(daemon, "pair", "--console", "--quick") as terminal:
        await terminal.expect("PIN: ")
        await terminal.expect("PIN: ")
        terminal.type(f"{online.offer(CONTEXT, secret=SECRET)}\n")
        await terminal.expect("Secret of the context: ")
        await terminal.expect("Nothing was paired.")
        await terminal.expect("PIN: ")
        await pipe(daemon, "", "pair", online.offer(CONTEXT))
        await terminal.expect("This machine is paired.")
        assert await terminal.end() == 0


async def test_a_context_that_the_user_data_names(online: Online, controller: Controller, daemon: Daemon) -> None:
    """It comes over that user-data, which is done at once; afterwards it is used without asking again."""
    online.offer(CONTEXT, secret=SECRET, ticket=CONTEXT_ID)
    online.failures = 3
    path = daemon.folder / "user-data"
    key = f"{CONTEXT_ID}:{SECRET}"
    path.write_text(f"#cloud-config\nhostname: cloud\ntimezone: UTC\n\n[cernvm]\ncontextualization_key={key}\n")
    online_settings: dict[str, object] = {"url": online.url, "insecure": True}
    file_settings: dict[str, object] = {"path": str(path)}
    daemon.configure(
        controller,
        sources={"names": ["file"]},
        **{"sources.file": file_settings, "sources.cernvm_online": online_settings},
    )
    _, plan, _ = await daemon.command("--dry-run")
    assert "applies it over this user-data" in plan
    assert online.queries == []
    await daemon.start()
    await controller.reason("waiting for the context of CernVM Online")
    await controller.state("ready")
    assert (daemon.root / "etc/hostname").read_text() == "paired\n"
    await daemon.end()
    asked = len(online.queries)
    await daemon.start()
    await controller.state("ready", times=2)
    assert len(online.queries) == asked
    assert (daemon.root / "etc/hostname").read_text() == "paired\n"
    told = "".join(event.model_dump_json() for event in controller.events) + daemon.log.read_text() + plan
    assert not any(hidden in told for hidden in (SECRET, CONTEXT_ID))
