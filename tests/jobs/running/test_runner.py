"""Real jobs: how they end, what they may use, and that they are found again."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.jobs.gate import reach
from tests.jobs.place import Place, limits
from ucvm_agent.errors import JobError
from ucvm_agent.jobs.running import program, runner
from ucvm_agent.jobs.running.job import WRAPPER, Job
from ucvm_agent.jobs.running.limits import Limits
from ucvm_agent.jobs.running.record import Beginning, End, Order, Outcome, Validation, boot_id
from ucvm_agent.jobs.running.runner import Lost, Running, attach, start
from ucvm_agent.jobs.running.scope import scope_options
from ucvm_agent.jobs.running.workdir import Folder


def alive(folder: Folder) -> list[str]:
    """Return the command lines of all processes of a job that there are: they have its folder as their home."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and f"HOME={folder.path}".encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_text())
        except OSError:
            continue
    return found


@pytest.mark.parametrize(
    ("script", "status"),
    [
        ("exit 0", 0),
        ("exit 3", 3 << 8),
        ("kill -9 $$", (128 + 9) << 8),  # the wrapper's shell reports it, as the original's did
        ("kill -9 $PPID; sleep 60", 9),
        ("exec /no/such/program", 127 << 8),
    ],
)
async def test_the_outcome_is_the_raw_wait_status(script: str, status: int, place: Place) -> None:
    """As `exitCode` goes over the wire."""
    outcome, _ = await place.run(script)
    assert (outcome.status, outcome.end, outcome.validate_status) == (status, End.OWN, None)


async def test_a_job_has_its_own_environment_account_and_session(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the agent's is in it: no variable, no descriptor, no right."""
    monkeypatch.setenv("UCVM_XMPP__PASSWORD", "geheim")
    script = "env; pwd; id -u; id -G; umask; cat; ls /proc/$$/fd; grep NoNewPrivs /proc/self/status; echo $A $1 $2"
    _, folder = await place.run(script, environment="export A=1", arguments="'two words' three")
    lines = (folder.path / "stdout").read_text().splitlines()
    account, home = place.account, str(folder.path)
    variables = {line.split("=")[0]: line.partition("=")[2] for line in lines if re.match(r"[A-Z_]+=", line)}
    assert variables.pop("_", None) in {None, "./run.sh", "/usr/bin/env"}
    assert variables.pop("OLDPWD") == home
    assert variables == {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "SHELL": "/bin/sh",
        "HOME": home,
        "PWD": home,
        "USER": account.name,
        "LOGNAME": account.name,
        "A": "1",
    }
    end = [home, str(account.uid), str(account.gid), "0022", "0", "1", "10", "2", "NoNewPrivs:\t1", "1 two words three"]
    assert lines[-len(end) :] == end
    assert "geheim" not in (folder.path / "_wrapper_.sh").read_text()


async def test_the_validation_sees_what_the_job_left(place: Place) -> None:
    """It runs after a job that failed, too, and has its own status and output."""
    check = "printf '#!/bin/sh\\ngrep -q hello stdout && grep wait_status resources; echo no >&2; exit 2' > check"
    outcome, folder = await place.run(f"echo hello; {check}; exit 1", validation_script="check")
    assert (outcome.status, outcome.validate_status) == (256, 512)
    assert (folder.path / "validate_stdout").read_text() == "wait_status=256\n"
    assert (folder.path / "validate_stderr").read_text() == "no\n"


async def test_the_begin_of_the_validation_is_told(place: Place) -> None:
    """To who waits for it, and to an agent that comes later; a job without one, or one that has ended, has none."""
    gate = place.make_gate()
    check = f"printf '#!/bin/sh\ncat {gate}' > check"
    running, folder = await place.start(f"cat {gate}; {check}; exit 1", validation_script="check")
    telling = asyncio.create_task(running.validation())
    os.close(await reach(gate))
    assert await telling == Validation(256)
    descriptor = await reach(gate)
    again = await attach(folder.control)
    assert isinstance(again, Running)
    assert await again.validation() == Validation(256)
    os.close(descriptor)
    await running.wait()
    assert await running.validation() is None
    without, _ = await place.start("exit 0", id="job-2")
    assert await without.validation() is None
    await without.wait()


async def test_a_job_that_is_cancelled_is_never_validated(place: Place) -> None:
    """Who waits for the validation learns that it does not come."""
    gate = place.make_gate()
    running, _ = await place.start(f"cat {gate}", validation_script="run.sh")
    descriptor = await reach(gate)
    telling = asyncio.create_task(running.validation())
    await running.kill("enough")
    assert await telling is None
    os.close(descriptor)
    await running.wait()


async def test_a_validation_that_is_missing_has_failed(place: Place) -> None:
    """And so has one whose output the job has put something in the way of."""
    outcome, _ = await place.run("exit 0", validation_script="check")
    assert (outcome.status, outcome.validate_status) == (0, 256)
    outcome, _ = await place.run("mkdir -p validate_stdout/x", validation_script="run.sh")
    assert outcome.validate_status == 127 << 8


DAEMONS = (
    "python3 -c 'import os,signal,time; "
    "[signal.signal(n, signal.SIG_IGN) for n in (1, 2, 15)]; os.fork() and os._exit(0); os.setsid(); "
    "os.fork() and os._exit(0); time.sleep(600)' >/dev/null 2>&1; setsid sleep 600 & (setsid setsid sleep 600 &)"
)


async def test_no_process_is_left_at_the_end(place: Place) -> None:
    """However a daemon forks, changes its session and ignores signals."""
    outcome, folder = await place.run(f"{DAEMONS}; echo done")
    assert (outcome.status, outcome.left_over) == (0, 0)
    assert (folder.path / "stdout").read_text() == "done\n"
    assert alive(folder) == []


async def test_a_cancelled_job_ends_with_all_its_processes(place: Place) -> None:
    """It is asked first, and can say good-bye; the first reason counts."""
    gate = place.make_gate()
    script = f"trap 'echo bye; exit 7' TERM; setsid sleep 600 & cat {gate} & wait"
    running, folder = await place.start(script)
    descriptor = await reach(gate)
    await running.kill("the operator said so")
    await running.kill("again")
    outcome = await running.wait()
    os.close(descriptor)
    assert isinstance(outcome, Outcome)
    assert (outcome.end, outcome.reason) == (End.CANCELLED, "the operator said so")
    assert (folder.path / "stdout").read_text() == "bye\n"
    assert alive(folder) == []
    await running.kill("too late")


async def test_the_time_is_limited(place: Place) -> None:
    """Also for who does not want to hear of it; the validation has its turn after that."""
    check = "printf '#!/bin/sh\\nexit 4' > check"
    outcome, folder = await place.run(
        f"{check}; trap '' TERM; while :; do sleep 600; done", limits=limits(wall=1), validation_script="check"
    )
    assert (outcome.end, outcome.status, outcome.validate_status) == (End.TIME, signal.SIGTERM, 4 << 8)
    assert alive(folder) == []
    assert "ended_by=time\n" in (folder.path / "resources").read_text()


async def test_the_memory_of_all_processes_together_is_limited(place: Place) -> None:
    """Each by itself would be allowed."""
    hog = "python3 -c 'x = b\"x\" * 150_000_000; import time; time.sleep(600)' &"
    outcome, folder = await place.run(hog * 4 + "wait", limits=limits(memory=400_000_000))
    assert (outcome.end, outcome.status) == (End.MEMORY, 9)
    assert outcome.memory_peak > 150_000_000
    assert alive(folder) == []


async def test_the_memory_of_one_process_is_limited_at_once(place: Place) -> None:
    """It cannot take all of the machine's before somebody looks."""
    script = "exec python3 -c 'x = b\"x\" * 2_000_000_000'"
    outcome, _ = await place.run(script, limits=limits(memory=400_000_000))
    assert outcome.status != 0
    assert outcome.memory_peak < 500_000_000


async def test_the_disk_is_limited(place: Place) -> None:
    """By what the whole folder takes, in however many files."""
    script = "i=0; while [ $i -lt 40 ]; do head -c 1000000 /dev/zero > $i; i=$((i+1)); done; sleep 600"
    outcome, _ = await place.run(script, limits=limits(disk=20_000_000))
    assert outcome.end is End.DISK


async def test_endless_output_fills_neither_disk_nor_memory(place: Place) -> None:
    """The begin is kept, the rest is counted, and the job goes on."""
    outcome, folder = await place.run("head -c 1000000000 /dev/zero; echo err >&2", limits=limits(output=10_000))
    assert (outcome.status, outcome.stdout, outcome.stderr) == (0, 10**9, 4)
    text = (folder.path / "stdout").read_bytes()
    assert text[10_000:] == b"\n[999990000 bytes were left out here]\n"
    assert f"stdout_bytes={10**9}\n" in (folder.path / "resources").read_text()


BOMB = """exec python3 -c "
import os, time
for _ in range(9):  # 512 processes, should nothing stop it: a bomb that does no harm
    try: os.fork()
    except OSError: pass
os.write(1, b'.')
time.sleep(600)
"
"""


async def test_a_fork_bomb_is_bounded_and_ends(place: Place) -> None:
    """It gets no more processes than it may have, and is gone at its time limit."""
    outcome, folder = await place.run(BOMB, limits=limits(processes=30, wall=1))
    assert outcome.end is End.TIME
    assert 10 < outcome.stdout <= 30
    assert alive(folder) == []


async def test_figures_are_those_of_all_processes(place: Place) -> None:
    """Also of those that nobody waited for."""
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    outcome, _ = await place.run(f'python3 -c "{burn}" & python3 -c "{burn}"; wait; sleep 0.1')
    assert 0.6 <= outcome.cpu_user + outcome.cpu_system < 5
    assert outcome.wall > 0.3


async def test_streams_are_not_written_where_the_job_makes_links_to(place: Place) -> None:
    """What the agent writes goes into its own files, whatever became of their names."""
    target = place.root / "target"
    target.write_text("precious")
    target.chmod(0o600)
    tricks = "".join(f"rm {name}; ln -s {target} {name}; " for name in ("stdout", "stderr", "resources"))
    tricks += f"ln -s {target} validate_stdout; "
    await place.run(f"{tricks} echo overwritten", validation_script="run.sh")
    assert target.read_text() == "precious"


AGENT = """
import asyncio, json, os, sys
from pathlib import Path
from tests.jobs.place import Place, limits
from ucvm_agent.jobs.running.account import Account
from ucvm_agent.jobs.running.workdir import Workdir

async def main(root, uid):
    place = Place(Path(root), Account("job", int(uid), int(uid)), Workdir(Path(root, "work")))
    outcome, _ = await place.run(sys.stdin.read(), limits=limits(processes=30, wall=2))
    print(json.dumps([outcome.status, outcome.end]))

asyncio.run(main(*sys.argv[1:]))
"""


@asynccontextmanager
async def agent(place: Place, script: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Start another agent that runs a job, and kill it at the end."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", AGENT, str(place.root), str(place.account.uid)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        cwd=Path(__file__).parents[3],
    )
    assert process.stdin
    process.stdin.write(script.encode())
    process.stdin.close()
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_a_job_survives_kill_9_of_its_agent(place: Place) -> None:
    """The next agent finds it running, waits for it, and gets the outcome; and so does one that comes later."""
    gate = place.make_gate()
    folder = place.workdir.folder("job-1")
    async with agent(place, f"echo begin; cat {gate}; echo end; exit 5") as first:
        descriptor = await reach(gate)
        first.kill()
        await first.wait()
    running = await attach(folder.control)
    assert isinstance(running, Running)
    waiting = asyncio.create_task(running.wait())
    os.close(descriptor)
    outcome = await waiting
    assert isinstance(outcome, Outcome)
    assert outcome.status == 5 << 8
    assert (folder.path / "stdout").read_text() == "begin\nend\n"
    assert await attach(folder.control) == outcome


async def test_a_job_is_lost_with_its_supervisor_and_leaves_no_process(place: Place) -> None:
    """Somebody killed the supervisor, as the kernel does when memory is short."""
    gate = place.make_gate()
    running, folder = await place.start(f"{DAEMONS}; cat {gate}")
    descriptor = await reach(gate)
    os.kill(running.beginning.pid, signal.SIGKILL)
    assert await running.wait() == Lost("its supervisor was killed", began=True)
    os.close(descriptor)
    assert isinstance(await attach(folder.control), Lost)
    assert alive(folder) == []


def rewrite(folder: Folder, **values: Any) -> None:
    file = folder.control / Beginning.name
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


async def test_a_job_is_lost_when_the_machine_restarts(place: Place) -> None:
    """Even if another process has the supervisor's number now; nobody else's process is waited for or killed."""
    _, folder = await place.run("exit 0")
    (folder.control / Outcome.name).unlink()
    rewrite(folder, pid=os.getpid(), boot="another")
    assert await attach(folder.control) == Lost("the machine was restarted", began=True)
    rewrite(folder, boot=boot_id(), started=1)
    assert await attach(folder.control) == Lost("its supervisor was killed", began=True)


async def test_a_job_that_was_given_up_cannot_begin_any_more(place: Place) -> None:
    """The agent died between its decision and the supervisor's begin, and the supervisor comes late."""
    folder = await place.workdir.make("job-1")
    (folder.path / WRAPPER).write_text("echo begun")
    order = Order(unit="late", folder=str(folder.path), validation="", account=place.account, limits=limits())
    order.write(folder.control)
    assert await attach(folder.control) == Lost("it had not begun when the agent was stopped", began=False)
    late = await asyncio.create_subprocess_exec(
        *program.command("supervisor", str(folder.control)), env=program.ENVIRONMENT, stderr=asyncio.subprocess.PIPE
    )
    _, errors = await late.communicate()
    assert errors == b"the job was given up already\n"
    assert [path.name for path in folder.path.iterdir()] == [WRAPPER]
    assert await attach(place.workdir.folder("never").control) == Lost("nothing is left of it", began=False)


async def test_a_job_is_started_once(place: Place) -> None:
    """A second start in the same folder is refused."""
    _, folder = await place.run("exit 0")
    with pytest.raises(JobError, match="started already"):
        await start(Job(id="job-1", command="run.sh"), folder, place.account, limits())


async def test_a_stopped_supervisor_stops_its_job(place: Place) -> None:
    """When the machine shuts down, everybody gets SIGTERM: the outcome says so."""
    gate = place.make_gate()
    running, folder = await place.start(f"cat {gate}")
    descriptor = await reach(gate)
    os.kill(running.beginning.pid, signal.SIGTERM)
    outcome = await running.wait()
    os.close(descriptor)
    assert isinstance(outcome, Outcome)
    assert (outcome.end, alive(folder)) == (End.STOPPED, [])


async def test_a_start_that_fails_tells_why_and_runs_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The supervisor's own complaint is the reason."""
    monkeypatch.setattr(program, "ENVIRONMENT", {"PYTHONPATH": "/nowhere"})
    with pytest.raises(JobError, match=r"could not begin: .*ucvm_agent"):
        await place.start("exit 0")


async def test_a_supervisor_that_is_late_is_kept_from_beginning(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk that is tried until there is room: before, nobody can say that the job does not run."""
    monkeypatch.setattr(runner, "START_SECONDS", 0.1)
    monkeypatch.setattr(runner, "PAUSE", 0.05)
    monkeypatch.setattr(program, "command", lambda *_: ("sleep", "60"))
    folder = await place.workdir.make("job-1")
    obstacle = folder.control / f"beginning.new.{os.getpid()}"
    obstacle.mkdir()
    told: asyncio.Queue[str] = asyncio.Queue()
    monkeypatch.setattr(runner.log, "error", lambda _, control, reason: told.put_nowait(reason))
    starting = asyncio.create_task(start(Job(id="job-1", command="run.sh"), folder, place.account, limits()))
    assert [await told.get() for _ in range(2)] == ["Is a directory", "Is a directory"]
    assert not starting.done()
    obstacle.rmdir()
    with pytest.raises(JobError, match="does not start"):
        await starting
    assert await attach(folder.control) == Lost("it had not begun when the agent was stopped", began=False)


def test_a_scope_holds_the_limits_with_room_for_the_supervisor() -> None:
    """Limits that are none are not said."""
    options = scope_options("ucvm-job-1", Limits(memory=1024**3, cpus=1.5, processes=100, wall=3600))
    assert options == (
        *("--scope", "--quiet", "--collect", "--unit=ucvm-job-1", "--property=Delegate=yes"),
        *(f"--property=MemoryMax={1024**3 + 64 * 1024**2}", "--property=CPUQuota=150%"),
        *("--property=TasksMax=108", "--property=RuntimeMaxSec=7800", "--"),
    )
    assert not [option for option in scope_options("x", Limits()) if "Max" in option or "Quota" in option]


WITHOUT_CGROUPS = "grep ' cgroup2 ' /proc/self/mounts | cut -d' ' -f2 | xargs -r umount --lazy; exec"
"""In a mount namespace of its own, where a machine has no second version of cgroups."""


UNPRIVILEGED = "unshare --user --map-user=1000 --map-group=1000"
"""In a user namespace, the tests' own account without its rights. No bomb here: to the kernel it is still root, whose
processes RLIMIT_NPROC does not count."""


@pytest.mark.skipif(os.geteuid() != 0, reason="makes namespaces")
@pytest.mark.parametrize(
    ("prefix", "script", "end"),
    [("", f"{DAEMONS}; exit 3", End.OWN), ("", BOMB, End.TIME), (UNPRIVILEGED, f"{DAEMONS}; exit 3", End.OWN)],
    ids=["daemons", "bomb", "unprivileged"],
)
async def test_no_process_is_left_where_there_are_no_cgroups(prefix: str, script: str, end: End, place: Place) -> None:
    """On an old machine, and where the agent is not root and has no rights to give away."""
    uid = "1000" if prefix else str(place.account.uid)
    process = await asyncio.create_subprocess_exec(
        *("unshare", "--mount", "sh", "-c", f'{WITHOUT_CGROUPS} {prefix} "$@"', "sh"),
        *(sys.executable, "-c", AGENT, str(place.root), uid),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    )
    output, _ = await process.communicate(script.encode())
    status, ended = json.loads(output.splitlines()[-1])
    assert ended == end
    assert status == 3 << 8 or end is End.TIME
    assert alive(place.workdir.folder("job-1")) == []
