"""Who answers in the benchmark of the controller: the controller with one of its ledgers, or a bare counterpart."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from pydantic import SecretStr

from tests.benchmarks.installation import REPOSITORY
from tests.servers.prosody import Prosody
from tests.servers.redis import RedisServer
from ucvm_agent.controller.ledger.base import Ledger
from ucvm_agent.controller.ledger.redis_ledger import RedisLedger
from ucvm_agent.controller.ledger.sqlite_ledger import SQLiteLedger
from ucvm_agent.controller.model import Description

CORE = 0
PASSWORD = "pw"

JOBS = 20_000
TOGETHER = 500
"""Jobs that are submitted at a time."""


class Who(StrEnum):
    """Who answers: a controller that keeps its jobs in SQLite or in Redis, or what keeps nothing and signs nothing."""

    SQLITE = "sqlite"
    REDIS = "redis"
    STAND_IN = "stand-in"


@dataclass(frozen=True, slots=True)
class Answering:
    """The processes whose time counts.

    Arguments:
        process: id of who answers.
        redis: id of its Redis, if it has one.
    """

    process: int
    redis: int | None = None


@asynccontextmanager
async def serving(server: Prosody, folder: Path, who: Who) -> AsyncIterator[Answering]:
    """Run who answers on a core of its own."""
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(RedisServer(folder)) if who is Who.REDIS else None
        settings = folder / "controller.toml"
        settings.write_text(configuration(server, folder, redis))
        if who is Who.STAND_IN:
            command = ["-m", "tests.benchmarks.stand_in", server.jid("jm"), server.host, str(server.port)]
        else:
            await submit(RedisLedger(SecretStr(redis.url)) if redis else SQLiteLedger(folder / "state" / "ledger.db"))
            module = "from ucvm_agent.controller.cli import main; main()"
            command = ["-c", module, "serve", "--config", str(settings)]
        with (folder / f"{who}.log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *("taskset", "-c", str(CORE), sys.executable, *command), cwd=REPOSITORY, stderr=log, stdout=log
            )
        try:
            yield Answering(process.pid, redis.pid if redis else None)
        finally:
            process.terminate()
            await process.wait()


def configuration(server: Prosody, folder: Path, redis: RedisServer | None) -> str:
    """Return the settings of a controller that lets an account ask as often as it likes."""
    return f"""\
instance = "bench"
state_dir = "{folder / "state"}"
redis = "{redis.url if redis else ""}"
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


async def submit(ledger: Ledger) -> None:
    """Put jobs into the queue."""
    await ledger.open()
    for _ in range(JOBS // TOGETHER):
        described = Description(command="run.sh", arguments="1 2 3", input_files=("run.sh", "data.root"))
        await asyncio.gather(*(ledger.submit(described, now=datetime.now(UTC)) for _ in range(TOGETHER)))
    await ledger.close()
