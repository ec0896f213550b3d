"""How many jobs a second one controller hands out over a real Prosody, and what it costs, by the number of agents.

    python -m tests.benchmarks.controller [--seconds 10] [--agents 1 100 1000] [--only sqlite redis stand-in]

Who answers has one core of its own; Prosody, Redis and the agents share the other, and the table says how busy each of
them was. `pairs` are those of the original wire (want_getJob, have_getJob, getJob, runJob, and an acknowledgement of
each); `direct` is what our own agents say (getJob, runJob: docs/protocol-jobs.md); `whole` adds jobDone. Exit code 1 if
a bound is not kept.
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
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tests.benchmarks.answering import PASSWORD, Answering, Who, serving
from tests.benchmarks.installation import REPOSITORY
from tests.benchmarks.memory import memory_of
from tests.benchmarks.sessions import Session, log_in
from tests.servers.prosody import Prosody
from ucvm_agent.copilot.stanza import Envelope, bare

OTHER_CORE = 1

BOUNDS = {"pairs": 320.0, "direct": 800.0}
"""Jobs per second of the controller's processor time; the wall rate shares its second core with all the agents."""

TOGETHER = 500
"""Sessions that log in at a time."""
WARM_UP_SECONDS = 2.0
PAGES = 20
"""That are brought to the disk to see how long it takes."""
PATIENCE = 30.0
EXAMPLE = REPOSITORY / "examples/controller/prosody.cfg.lua"
JDL = "[ Requirements = true; ]"

Turn = Callable[[Session, str], Awaitable[None]]
"""One job, as one agent asks for it; the argument is the full JID of the controller."""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one run.

    Arguments:
        jobs: that were handed out.
        answering: processor seconds of who answers.
        prosody, redis, agents: processor seconds of the others, which share a core.
        turns: seconds of each turn.
        silent: agents that still had no answer long after the end; the original ones ask again by themselves.
        resident: megabytes of the controller at the end.
        commit: seconds that the disk takes to keep a page, which each commit to a ledger waits for.
    """

    jobs: int
    seconds: float
    answering: float
    prosody: float
    redis: float
    agents: float
    turns: Sequence[float]
    silent: int
    resident: float
    commit: float


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
    session.ask(controller, command="getJob", **who, jdl=JDL)
    return await session.answer("runJob")


TURNS: dict[str, Turn] = {"pairs": pairs, "direct": direct, "whole": whole}


# Measuring


async def measure(
    server: Prosody, sessions: Sequence[Session], turn: Turn, answering: Answering, seconds: float
) -> Result:
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
    prosody = int((server.folder / "prosody.pid").read_text())
    processes = (answering.process, prosody, answering.redis, os.getpid())
    before, started = [cpu_of(process) for process in processes], time.perf_counter()
    await asyncio.sleep(seconds)
    spent = [cpu_of(process) - earlier for process, earlier in zip(processes, before, strict=True)]
    result = Result(
        jobs=len(turns),
        seconds=time.perf_counter() - started,
        answering=spent[0],
        prosody=spent[1],
        redis=spent[2],
        agents=spent[3],
        turns=list(turns),
        silent=0,
        resident=memory_of(answering.process)["Rss"],
        commit=await asyncio.to_thread(commit_of, server.folder),
    )
    stopping = True
    ended, silent = await asyncio.wait(tasks, timeout=PATIENCE)
    for task in silent:
        task.cancel()
    await asyncio.gather(*ended)
    return replace(result, silent=len(silent))


def cpu_of(process: int | None) -> float:
    """Return the processor seconds of a process; 0 where there is none."""
    if process is None:
        return 0.0
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def commit_of(folder: Path) -> float:
    """Return the median seconds of bringing a page to the disk of a folder."""
    spent = []
    with (folder / "page").open("wb", buffering=0) as file:
        for _ in range(PAGES):
            file.write(bytes(4096))
            started = time.perf_counter()
            os.fdatasync(file.fileno())
            spent.append(time.perf_counter() - started)
    return statistics.median(spent)


async def run(who: Who, turn: Turn, agents: int, seconds: float) -> Result:
    """Measure one kind of turn with so many agents."""
    with tempfile.TemporaryDirectory(prefix="ucvm-benchmark.", dir="/var/tmp") as name:
        folder = Path(name)
        users = [f"agent{number}" for number in range(agents)]
        server = Prosody(folder, dict.fromkeys([*users, "jm"], PASSWORD))
        tune(folder / "prosody.cfg.lua")
        context = ssl.create_default_context(cafile=server.ca_file)
        async with server, serving(server, folder, who) as answering:
            sessions: list[Session] = []
            for start in range(0, agents, TOGETHER):
                some = users[start : start + TOGETHER]
                made = (log_in(server.jid(user), PASSWORD, server.host, server.port, context) for user in some)
                sessions += await asyncio.gather(*made)
            async with asyncio.timeout(PATIENCE):
                await reachable(sessions[0], server.jid("jm"))
            try:
                return await measure(server, sessions, turn, answering, seconds)
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


HEADINGS = (
    "",
    "turn",
    "agents",
    "jobs/s",
    "jobs/cpu s",
    "busy",
    "prosody",
    "redis",
    "agents",
    "turn ms",
    "99%",
    "silent",
    "disk ms",
    "MB",
)
WIDTHS = (8, 6, 6, 6, 10, 5, 7, 5, 6, 7, 7, 6, 7, 5)


def show(who: Who, turn: str, agents: int, result: Result) -> bool:
    """Print what came of one run; say whether the bound is kept."""
    per_core, turns = result.jobs / result.answering, sorted(result.turns)
    shares = (result.answering, result.prosody, result.redis, result.agents)
    row(
        *(who, turn, agents, f"{result.jobs / result.seconds:.0f}", f"{per_core:.0f}"),
        *(f"{share / result.seconds:.0%}" for share in shares),
        *(f"{1000 * each:.0f}" for each in (statistics.median(turns), turns[int(len(turns) * 0.99)])),
        *(result.silent, f"{1000 * result.commit:.1f}", f"{result.resident:.1f}"),
    )
    return who is Who.STAND_IN or agents == 1 or per_core >= BOUNDS.get(turn, 0.0)


def row(*cells: object) -> None:
    """Print a row of the table."""
    print("  ".join(f"{cell!s:>{width}}" for cell, width in zip(cells, WIDTHS, strict=True)), flush=True)


def main() -> int:
    """Read the command line, measure, report."""
    parser = argparse.ArgumentParser(description="Measure how many jobs a second a controller hands out.")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    parser.add_argument("--agents", type=int, nargs="+", default=[1, 100, 1000])
    parser.add_argument("--only", nargs="+", type=Who, default=list(Who), help="who answers: sqlite, redis, stand-in")
    parser.add_argument("--turns", nargs="+", choices=TURNS, default=list(TURNS))
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {OTHER_CORE})
    row(*HEADINGS)
    kept = True
    for who in arguments.only:
        for turn in arguments.turns:
            if (who, turn) == (Who.STAND_IN, "whole"):
                continue
            for agents in arguments.agents:
                result = asyncio.run(run(who, TURNS[turn], agents, arguments.seconds))
                kept &= show(who, turn, agents, result)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
