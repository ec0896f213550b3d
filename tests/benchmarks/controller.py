"""How many jobs a second one controller hands out over a real Prosody, and what it costs, by the number of agents.

    python -m tests.benchmarks.controller [--seconds 10] [--agents 1 100 1000]

The controller has one core of its own; Prosody and the agents share the other. `pairs` are those of the original wire
(want_getJob, have_getJob, getJob, runJob, and an acknowledgement of each); `direct` is what our own agents say
(getJob, runJob: docs/protocol-jobs.md); `whole` adds jobDone. The counterpart is a bare slixmpp client that answers the
same questions, signs nothing and keeps nothing. Exit code 1 if a bound is not kept.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import ssl
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.benchmarks.installation import REPOSITORY
from tests.benchmarks.memory import memory_of
from tests.benchmarks.sessions import Session, log_in
from tests.servers.prosody import Prosody
from ucvm_agent.controller.ledger.sqlite_ledger import SQLiteLedger
from ucvm_agent.controller.model import Description
from ucvm_agent.copilot.stanza import Envelope, bare

CONTROLLER_CORE = 0
OTHER_CORE = 1

BOUNDS = {"pairs": 320.0, "direct": 800.0}
"""Jobs per second of the controller's processor time; the wall rate shares its second core with all the agents."""

JOBS = 50_000
TOGETHER = 500
"""Jobs that are submitted, or sessions that log in, at a time."""
WARM_UP_SECONDS = 2.0
PASSWORD = "pw"
PATIENCE = 60.0
EXAMPLE = REPOSITORY / "examples/controller/prosody.cfg.lua"
JDL = "[ Requirements = true; ]"

Turn = Callable[[Session, str], Awaitable[None]]
"""One job, as one agent asks for it; the argument is the full JID of the controller."""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one run.

    Arguments:
        jobs: that were handed out.
        cpu: seconds of the controller.
        other: seconds of Prosody and of the agents.
        turns: seconds of each turn.
        resident: megabytes of the controller at the end.
    """

    jobs: int
    seconds: float
    cpu: float
    other: float
    turns: Sequence[float]
    resident: float


# What agents say


async def pairs(session: Session, controller: str) -> None:
    """Get a job as an original agent does."""
    session.say(bare(controller), command="want_getJob", agentHost=session.jid, jdl=JDL)
    offer = await session.answer("have_getJob")
    session.say(offer.sender, command="getJob", agentHost=session.jid, jdl=JDL)
    await session.answer("runJob")


async def direct(session: Session, controller: str) -> None:
    """Get a job as an agent of ours does."""
    await take(session, controller)


async def whole(session: Session, controller: str) -> None:
    """Get a job as an agent of ours does, and have it done at once."""
    run = await take(session, controller)
    info, job = run.info or {}, (run.info or {})["job"]
    who = {"agentHost": session.jid, "machineID": session.jid, "slot": "1"}
    what = {"jobID": str(job["id"]), "lease": str(info["lease"]), "exitCode": "0"}  # type: ignore[index]  # a hash
    await session.acknowledgement(session.say(controller, command="jobDone", state="ready", **who, **what))


async def take(session: Session, controller: str) -> Envelope:
    """Ask directly for a job."""
    who = {"agentHost": session.jid, "machineID": session.jid, "slot": "1", "request": str(uuid.uuid4())}
    session.say(controller, command="getJob", **who, jdl=JDL)
    return await session.answer("runJob")


TURNS: dict[str, Turn] = {"pairs": pairs, "direct": direct, "whole": whole}


# Who answers


def configuration(server: Prosody, folder: Path) -> str:
    """Return the settings of a controller that lets an account ask as often as it likes."""
    return f"""\
instance = "bench"
state_dir = "{folder / "state"}"
[log]
format = "json"
[xmpp]
jid = "{server.jid("jm")}"
password = "{PASSWORD}"
host = "{server.host}"
port = {server.port}
ca_file = "{server.ca_file}"
[jobs]
cooldown_seconds = 0
[http]
listen = ""
"""


async def submit(folder: Path) -> None:
    """Put jobs into the queue."""
    ledger = SQLiteLedger(folder / "state" / "ledger.db")
    await ledger.open()
    for _ in range(JOBS // TOGETHER):
        described = Description(command="run.sh", arguments="1 2 3", input_files=("run.sh", "data.root"))
        await asyncio.gather(*(ledger.submit(described, now=datetime.now(UTC)) for _ in range(TOGETHER)))
    await ledger.close()


@asynccontextmanager
async def serving(server: Prosody, folder: Path, kind: str) -> AsyncIterator[int]:
    """Run who answers on a core of its own; yield its process id."""
    settings = folder / "controller.toml"
    settings.write_text(configuration(server, folder))
    if kind == "controller":
        await submit(folder)
        module = "from ucvm_agent.controller.cli import main; main()"
        command = [sys.executable, "-c", module, "serve", "--config", str(settings)]
    else:
        command = [sys.executable, "-m", "tests.benchmarks.stand_in", server.jid("jm"), server.host, str(server.port)]
    with (folder / f"{kind}.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            "taskset", "-c", str(CONTROLLER_CORE), *command, cwd=REPOSITORY, stderr=log, stdout=log
        )
    try:
        yield process.pid
    finally:
        process.terminate()
        await process.wait()


# Measuring


async def measure(server: Prosody, sessions: Sequence[Session], turn: Turn, process: int, seconds: float) -> Result:
    """Let all sessions take turns for so long."""
    controller = f"{server.jid('jm')}/bench"
    turns: list[float] = []
    stopping = False

    async def work(session: Session) -> None:
        while not stopping:
            started = time.perf_counter()
            await turn(session, controller)
            turns.append(time.perf_counter() - started)

    tasks = [asyncio.create_task(work(session)) for session in sessions]
    await asyncio.sleep(WARM_UP_SECONDS)
    turns.clear()
    others = (os.getpid(), int((server.folder / "prosody.pid").read_text()))
    before, others_before, started = cpu_of(process), cpu_of(*others), time.perf_counter()
    await asyncio.sleep(seconds)
    cpu, other, measured = cpu_of(process) - before, cpu_of(*others) - others_before, list(turns)
    spent = time.perf_counter() - started
    stopping = True
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*tasks)
    return Result(len(measured), spent, cpu, other, measured, memory_of(process)["Rss"])


def cpu_of(*processes: int) -> float:
    """Return the processor seconds of processes."""
    stats = (Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split() for process in processes)
    return sum(int(fields[11]) + int(fields[12]) for fields in stats) / os.sysconf("SC_CLK_TCK")


async def run(kind: str, turn: Turn, agents: int, seconds: float) -> Result:
    """Measure one kind of turn with so many agents."""
    with tempfile.TemporaryDirectory(prefix="ucvm-benchmark.", dir="/var/tmp") as name:
        folder = Path(name)
        users = [f"agent{number}" for number in range(agents)]
        server = Prosody(folder, dict.fromkeys([*users, "jm"], PASSWORD))
        tune(folder / "prosody.cfg.lua")
        context = ssl.create_default_context(cafile=server.ca_file)
        async with server, serving(server, folder, kind) as process:
            sessions: list[Session] = []
            for start in range(0, agents, TOGETHER):
                some = users[start : start + TOGETHER]
                made = (log_in(server.jid(user), PASSWORD, server.host, server.port, context) for user in some)
                sessions += await asyncio.gather(*made)
            async with asyncio.timeout(PATIENCE):
                await reachable(sessions[0], server.jid("jm"))
            try:
                return await measure(server, sessions, turn, process, seconds)
            finally:
                for session in sessions:
                    session.close()


def tune(settings: Path) -> None:
    """Set up Prosody's network as our example does; and let it not log each stanza."""
    network = next(line for line in EXAMPLE.read_text().splitlines() if line.startswith("network_settings"))
    text = settings.read_text().replace('min = "debug"', 'min = "info"')
    head, mark, tail = text.partition("VirtualHost")
    settings.write_text(f"{head}{network}\n{mark}{tail}")


async def reachable(session: Session, account: str) -> None:
    """Return when an account answers; until it is there, its server says that it is not."""
    while True:
        try:
            session.say(account, command="want_getJob", agentHost=session.jid, jdl=JDL)
            await session.answer("have_getJob")
        except ConnectionError:
            await asyncio.sleep(0.2)
        else:
            return


HEADINGS = ("", "turn", "agents", "jobs/s", "cpu ms", "jobs/cpu s", "other ms", "turn ms", "99%", "MB")
WIDTHS = (10, 6, 6, 7, 6, 10, 8, 8, 8, 6)


def show(kind: str, turn: str, agents: int, result: Result) -> bool:
    """Print what came of one run; say whether the bound is kept."""
    per_core, turns = result.jobs / result.cpu, sorted(result.turns)
    row(
        *(kind, turn, agents, f"{result.jobs / result.seconds:.0f}"),
        *(f"{1000 / per_core:.2f}", f"{per_core:.0f}", f"{1000 * result.other / result.jobs:.2f}"),
        *(f"{1000 * each:.1f}" for each in (statistics.median(turns), turns[int(len(turns) * 0.99)])),
        f"{result.resident:.1f}",
    )
    return kind != "controller" or agents == 1 or per_core >= BOUNDS.get(turn, 0.0)


def row(*cells: object) -> None:
    """Print a row of the table."""
    print("  ".join(f"{cell!s:>{width}}" for cell, width in zip(cells, WIDTHS, strict=True)), flush=True)


def main() -> int:
    """Read the command line, measure, report."""
    parser = argparse.ArgumentParser(description="Measure how many jobs a second a controller hands out.")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    parser.add_argument("--agents", type=int, nargs="+", default=[1, 100, 1000])
    parser.add_argument("--only", choices=("controller", "stand-in"), help="leave the other one out")
    parser.add_argument("--turns", nargs="+", choices=TURNS, default=list(TURNS))
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {OTHER_CORE})
    row(*HEADINGS)
    kept = True
    for kind in ("controller", "stand-in"):
        for turn in arguments.turns:
            if arguments.only not in (None, kind) or (kind, turn) == ("stand-in", "whole"):
                continue
            for agents in arguments.agents:
                result = asyncio.run(run(kind, TURNS[turn], agents, arguments.seconds))
                kept &= show(kind, turn, agents, result)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
