"""Commands and scripts: real ones, killed, chrooted, too loud and too slow."""

from __future__ import annotations

import asyncio
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from ucvm_agent.contextualize.actions import Effect, RunCommand, RunScript
from ucvm_agent.contextualize.actions import run as run_module
from ucvm_agent.contextualize.actions.run import parse_interpreter
from ucvm_agent.contextualize.actions.supervisor import LOG_HEAD, LOG_TAIL
from ucvm_agent.contextualize.system import ENVIRONMENT, System
from ucvm_agent.contextualize.target import Target
from ucvm_agent.errors import ActionError

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="changes the root directory")


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Target:
    """The running system; scripts are kept in a folder of the test."""
    monkeypatch.setattr(run_module, "SCRIPTS", str(tmp_path / "scripts"))
    return Target(System(Path("/")), tmp_path / "runs", "key", set())


@pytest.fixture
def chroot(tmp_path: Path) -> Target:
    """A root with nothing but busybox in it."""
    programs = tmp_path / "root" / "bin"
    programs.mkdir(parents=True)
    shutil.copy("/bin/busybox", programs)
    for name in ("sh", "ls", "pwd", "cat", "env"):
        (programs / name).symlink_to("busybox")
    return Target(System(tmp_path / "root"), tmp_path / "runs", "key", set())


def output(target: Target) -> str:
    return (target.runs / f"{target.run_key}.log").read_text()


async def failure(action: RunCommand | RunScript, target: Target) -> str:
    with pytest.raises(ActionError) as caught:
        await action.apply(target)
    return str(caught.value)


async def test_public_contexts_find_amiconfig_among_their_parents(target: Target) -> None:
    """The beginning of real scripts, which leave if nothing above them is called amiconfig."""
    context = Path(__file__).parents[1] / "data" / "contexts" / "atlas.context"
    beginning, _, _ = context.read_text().partition("\n. /etc/cernvm/site.conf")
    script = beginning.replace("#!/bin/sh.after", "#!/bin/sh") + "\necho it goes on\n"
    await RunScript(name="user-data", text=script.encode()).apply(target)
    assert output(target).strip() == "it goes on"


AGENT = """
import asyncio, sys
from pathlib import Path
from ucvm_agent.contextualize.actions import RunCommand, RunScript, run
from ucvm_agent.contextualize.system import ENVIRONMENT, System
from ucvm_agent.contextualize.target import Target

run.SCRIPTS = sys.argv[1] + "/scripts"
target = Target(System(Path("/")), Path(sys.argv[1]) / "runs", "key", set())
asyncio.run(RunScript(name="test", text=sys.stdin.buffer.read()).apply(target))
"""


@asynccontextmanager
async def agent(folder: Path, script: RunScript) -> AsyncIterator[asyncio.subprocess.Process]:
    """Start another agent that applies the script, and kill it at the end."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", AGENT, str(folder)), stdin=asyncio.subprocess.PIPE
    )
    assert process.stdin
    process.stdin.write(script.text)
    process.stdin.close()
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def gated_script(folder: Path, status: int = 0) -> RunScript:
    """Make a script that waits in the middle until somebody opens and closes `folder/gate`."""
    os.mkfifo(folder / "gate")
    text = (
        f"#!/bin/sh\necho begin $PPID $$ >>{folder}/done\ncat {folder}/gate\necho end >>{folder}/done\nexit {status}\n"
    )
    return RunScript(name="test", text=text.encode())


async def open_gate(folder: Path) -> None:
    """Let the script go on; returns once it has come to its gate."""
    await asyncio.to_thread((folder / "gate").write_text, "opened\n")


async def reach_gate(folder: Path) -> int:
    """Wait until the script is at its gate, and hold it there until the returned descriptor is closed."""
    return await asyncio.to_thread(os.open, folder / "gate", os.O_WRONLY)


async def leave_gate(gate: int) -> None:
    """Close the gate's descriptor once nobody stands at the gate any more."""
    readers = select.poll()
    readers.register(gate, 0)  # reports only that the last reader is gone
    await asyncio.to_thread(readers.poll)
    os.close(gate)


async def test_the_agent_is_killed_and_the_script_ends_once(tmp_path: Path, target: Target) -> None:
    """A script survives kill -9 of its agent; the next agent waits for it and takes its result."""
    script = gated_script(tmp_path)
    async with agent(tmp_path, script) as first:
        gate = await reach_gate(tmp_path)
        first.kill()
        await first.wait()
    second = asyncio.create_task(script.apply(target))
    os.close(gate)
    await second
    lines = (tmp_path / "done").read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["begin", "end"]
    assert not list((tmp_path / "scripts").iterdir())


async def test_a_result_is_found_by_an_agent_that_comes_later(tmp_path: Path, target: Target) -> None:
    """A failure that nobody waited for is found, with its output, and is not run again."""
    script = gated_script(tmp_path, status=3)
    async with agent(tmp_path, script) as first:
        gate = await reach_gate(tmp_path)
        first.kill()
        await first.wait()
    os.write(gate, b"some output\n")
    os.close(gate)
    for _ in range(2):
        assert "exit status 3, after printing:\nsome output" in await failure(script, target)
    assert (tmp_path / "done").read_text().count("begin") == 1


async def test_a_stopping_agent_leaves_the_script_running(tmp_path: Path, target: Target) -> None:
    """Cancellation gives up the waiting, not the script."""
    script = gated_script(tmp_path)
    first = asyncio.create_task(script.apply(target))
    gate = await reach_gate(tmp_path)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    second = asyncio.create_task(script.apply(target))
    os.close(gate)
    await second
    assert (tmp_path / "done").read_text().splitlines()[1:] == ["end"]


async def test_a_script_that_died_with_the_machine_runs_again(tmp_path: Path, target: Target) -> None:
    """Where neither a result nor a supervisor is left, the script is run again, and the log says so."""
    script = gated_script(tmp_path)
    async with agent(tmp_path, script) as first:
        gate = await reach_gate(tmp_path)
        first.kill()
        supervisor, shell = map(int, (tmp_path / "done").read_text().split()[1:])
        os.kill(supervisor, signal.SIGKILL)
        os.killpg(shell, signal.SIGKILL)
        await leave_gate(gate)
        await first.wait()
    with capture_logs() as logs:
        second = asyncio.create_task(script.apply(target))
        await open_gate(tmp_path)
        await second
    assert any("died together with the machine" in entry["event"] for entry in logs)
    assert [line.split()[0] for line in (tmp_path / "done").read_text().splitlines()] == ["begin", "begin", "end"]


@needs_root
async def test_beneath_a_root_a_script_sees_only_that(chroot: Target) -> None:
    """A script beneath another root has it as `/`, and finds programs and interpreter there."""
    await RunScript(name="look", text=b"#!/bin/sh\nls /; pwd; cat; echo $0\n").apply(chroot)
    assert output(chroot).splitlines() == ["bin", "run", "/", f"{run_module.SCRIPTS}/key"]
    assert not (chroot.system.root / "run/ucvm-agent/scripts/key").exists()
    assert (chroot.system.root / "run/ucvm-agent/scripts").stat().st_mode & 0o777 == 0o700


@needs_root
async def test_a_missing_interpreter_is_named(chroot: Target) -> None:
    """The error says which interpreter the root lacks, though the machine has it."""
    assert "interpreter '/usr/bin/perl' does not exist" in await failure(
        RunScript(name="x", text=b"#!/usr/bin/perl -w\n"), chroot
    )


async def test_a_command_gets_a_small_environment_and_no_input(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the agent's environment reaches a command, and its input is empty."""
    monkeypatch.setenv("UCVM_XMPP__PASSWORD", "secret")
    await RunCommand(argv=("sh", "-c", "cat; env; pwd"), environment=(("GREETING", "hi there"),)).apply(target)
    lines = set(output(target).splitlines()) - {"_=/usr/bin/env"}
    path = f"PATH={ENVIRONMENT['PATH']}"
    assert lines == {path, "HOME=/root", "LANG=C.UTF-8", "GREETING=hi there", "PWD=/", "/"}


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("sh", "-c", "echo one; echo two >&2; exit 7"), "sh ended with exit status 7, after printing:\none\ntwo"),
        (("sh", "-c", "kill -SEGV $$"), "sh was killed by SIGSEGV"),
        (("no-such-program",), "no-such-program could not be started: No such file or directory"),
        (("/etc/passwd",), "/etc/passwd could not be started: Permission denied"),
        (("printf", r"\033[31mred\n"), ""),
    ],
)
async def test_a_failure_says_how_the_command_ended(argv: tuple[str, ...], message: str, target: Target) -> None:
    """A failure tells status or signal, and the last lines of the output."""
    command = RunCommand(argv=argv)
    if message:
        assert message in await failure(command, target)
    else:
        await command.apply(target)


async def test_sensitive_arguments_and_output_stay_hidden(target: Target) -> None:
    """Of a sensitive command only the program is ever shown; its output is for root's eyes only."""
    command = RunCommand(argv=("sh", "-c", "echo geheim; exit 1"), sensitive=True, environment=(("P", "geheim"),))
    shown = f"{command!r}{command.target}{command.preview(target.system)}{await failure(command, target)}"
    assert "geheim" not in shown
    assert "sh …" in shown
    assert (target.runs / "key.log").stat().st_mode & 0o077 == 0
    assert "geheim" not in (target.runs / "key.program").read_text()


async def test_the_whole_session_ends_when_the_time_is_over(tmp_path: Path, target: Target) -> None:
    """At its time limit a command is stopped together with what it started in the background."""
    os.mkfifo(tmp_path / "held")
    end = asyncio.create_task(asyncio.to_thread((tmp_path / "held").read_bytes))  # until nobody holds it any more
    command = RunCommand(argv=("sh", "-c", f"trap '' TERM; sleep 600 >{tmp_path}/held & wait; wait"), timeout=0.3)
    assert "its time was over" in await failure(command, target)
    assert await end == b""


async def test_what_a_command_leaves_behind_neither_delays_nor_dies(tmp_path: Path, target: Target) -> None:
    """A daemon that keeps the command's output open does not hold up the result, and can go on writing."""
    os.mkfifo(tmp_path / "gate")
    os.mkfifo(tmp_path / "answer")
    daemon = f"(cat {tmp_path}/gate; echo late; echo alive >{tmp_path}/answer) &"
    await RunCommand(argv=("sh", "-c", f"{daemon} echo started")).apply(target)
    assert output(target) == "started\n"
    await open_gate(tmp_path)
    assert await asyncio.to_thread((tmp_path / "answer").read_text) == "alive\n"


async def test_endless_output_does_not_fill_the_disk(target: Target) -> None:
    """Of too much output the begin and the end are kept, and what is between is counted."""
    text = "echo first; head -c 40000000 /dev/zero; echo last; exit 1"
    assert "after printing:\nlast" in await failure(RunCommand(argv=("sh", "-c", text)), target)
    log = (target.runs / "key.log").read_bytes()
    assert log.startswith(b"first\n")
    assert log.endswith(b"last\n")
    assert LOG_HEAD + LOG_TAIL < len(log) < LOG_HEAD + LOG_TAIL + 100
    assert b"%d bytes were printed here" % (40000011 - LOG_HEAD - LOG_TAIL) in log


@pytest.mark.parametrize(
    "line",
    ["#!/bin/echo", "#!/bin/echo -e", "#! /bin/echo a b  c ", "#!\t/bin/echo\tx\ty", "#!/bin/echo  two  words\t"],
)
def test_interpreter_lines_mean_what_they_mean_to_the_kernel(line: str, tmp_path: Path) -> None:
    """The interpreter gets the same arguments as from execve(2)."""
    script = tmp_path / "script"
    script.write_text(f"{line}\nexit 1\n")
    script.chmod(0o755)
    real = subprocess.run([script], capture_output=True, check=True).stdout
    interpreter = parse_interpreter(script.read_bytes())
    assert subprocess.run([*interpreter, script], capture_output=True, check=True).stdout == real


@pytest.mark.parametrize("text", [b"", b"echo hi\n", b"#!\n/bin/sh", b"#!   \n", b"\x7fELF"])
def test_a_script_without_interpreter_line_is_refused(text: bytes) -> None:
    """What the kernel could not start is refused when the action is made."""
    with pytest.raises(ValueError, match="interpreter line"):
        RunScript(name="x", text=text)


def test_a_preview_shows_the_command_line_or_the_scripts_first_line() -> None:
    """A person sees what would be run, quoted as for a shell."""
    system = System(Path("/nonexistent"))
    command = RunCommand(argv=("echo", "two words")).preview(system)
    assert (command.effect, command.summary) == (Effect.RUN, "run echo 'two words'")
    script = RunScript(name="setup", text=b"#!/bin/bash -e\nsecret\n").preview(system)
    assert script.summary == "run script setup (22 bytes, #!/bin/bash -e)"
