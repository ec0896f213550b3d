"""A real controller in a process of its own, as `ucvm-controller serve` runs it."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.servers.prosody import Prosody

READY_SECONDS = 30.0
STOP_SECONDS = 20.0
PROGRAM = "from ucvm_agent.controller.cli import main; main()"


class Serving:
    """One controller, with the account `jm`.

    Arguments:
        folder: where its settings, its state and its log are.
        redis: URL, if it shares its work.
        tables: settings that differ, by their section.

    Attributes:
        log_file: its log, in JSON, over all its starts.
        counts: how often it has logged each event, over all its starts.
    """

    def __init__(
        self, prosody: Prosody, folder: Path, instance: str, redis: str = "", **tables: Mapping[str, object]
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.state_dir = folder / "state"
        self.log_file = folder / "log"
        self.counts: Counter[str] = Counter()
        self._news = asyncio.Condition()
        self._config = folder / "controller.toml"
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        account = {"jid": prosody.jid("jm"), "password": "pw", "host": prosody.host, "port": prosody.port}
        sections: dict[str, Mapping[str, object]] = {
            "xmpp": account | {"ca_file": str(prosody.ca_file)},
            "jobs": {"lease_seconds": 2},
            "http": {"listen": ""},
            "log": {"format": "json"},
        }
        top: dict[str, object] = {"instance": instance, "state_dir": str(self.state_dir), "redis": redis}
        top |= {"key_file": str(folder.parent / "signing.pem")}
        lines = _lines(top)
        for name, table in (sections | tables).items():
            lines += [f"[{name}]", *_lines(table)]
        self._config.write_text("\n".join(lines) + "\n")

    async def start(self) -> None:
        """Start it, and return when it is online."""
        self._process = process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", PROGRAM, "serve", "--config", str(self._config)),
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        online = asyncio.get_running_loop().create_future()
        self._reader = asyncio.create_task(self._read_log(process, online))
        async with asyncio.timeout(READY_SECONDS):
            await online

    async def kill(self) -> None:
        """End it as a power cut would."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> int:
        """End it in good order; return its exit code."""
        return await self._end(signal.SIGTERM)

    @property
    def ended(self) -> int:
        """Of how many jobs it has logged the end; what was about to be logged at a kill is missing."""
        return self.counts["job ended"]

    async def until_ended(self, count: int) -> None:
        """Return as soon as so many jobs have ended."""
        await self.logged("job ended", count)

    async def logged(self, event: str, times: int = 1) -> None:
        """Return as soon as it has logged an event so often."""
        async with self._news:
            await self._news.wait_for(lambda: self.counts[event] >= times)

    def log_text(self) -> str:
        """Return what it has logged so far."""
        return self.log_file.read_text() if self.log_file.exists() else ""

    async def _end(self, number: signal.Signals) -> int:
        process, reader = self._process, self._reader
        assert process is not None
        assert reader is not None
        self._process = self._reader = None
        process.send_signal(number)
        async with asyncio.timeout(STOP_SECONDS):
            code = await process.wait()
            await reader
        return code

    async def _read_log(self, process: asyncio.subprocess.Process, online: asyncio.Future[None]) -> None:
        assert process.stderr is not None
        with self.log_file.open("ab") as log_file:
            while line := await process.stderr.readline():
                log_file.write(line)
                log_file.flush()
                event = _event(line)
                async with self._news:
                    self.counts[event] += 1
                    self._news.notify_all()
                if event == "xmpp connected" and not online.done():
                    online.set_result(None)
        if not online.done():
            online.set_exception(RuntimeError(f"the controller did not start: {self.log_text()[-2000:]}"))

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            await self._end(signal.SIGKILL)


def _event(line: bytes) -> str:
    """Return what a line of the log tells of, and of a VM's event which; a line of a traceback tells of nothing."""
    with suppress(ValueError):
        values = json.loads(line)
        return f"{values['event']} {values.get('what', '')}".rstrip()
    return ""


def _lines(table: Mapping[str, object]) -> list[str]:
    return [f"{name} = {json.dumps(value)}" for name, value in table.items()]
