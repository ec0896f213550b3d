"""The real daemon as a process of its own, with a controller over HTTP that keeps what it is told."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, TypeVar

from aiohttp import web

from ucvm_agent.events import Body, Event, JobChanged, Note, StateChanged

B = TypeVar("B", bound=Body)

PATIENCE = 60.0
"""Seconds that any step of a test may take before it has failed."""

AGENT = (sys.executable, "-m", "ucvm_agent")

UNTRUSTING = {"SSL_CERT_FILE": os.devnull}
"""Nothing on loopback is certified by the authorities of the system, which each agent would take its time to read."""


class Controller:
    """A controller on loopback that takes events by POST.

    Attributes:
        events: what it got, in order, without repetitions.
        url: for `http.url`.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.url = ""
        self._news = asyncio.Condition()

    async def __aenter__(self) -> Self:
        application = web.Application()
        application.router.add_post("/events", self._take)
        self._runner = web.AppRunner(application, shutdown_timeout=1.0, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}/events"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    @property
    def states(self) -> list[str]:
        """The states that the VM went through, as far as it has told."""
        return [event.body.state.value for event in self.events if isinstance(event.body, StateChanged)]

    async def state(self, wanted: str, *, times: int = 1) -> StateChanged:
        """Wait until the VM has said that often that it is in a state; return what it said last."""
        return await self._told(StateChanged, times, lambda body: body.state == wanted)

    async def reason(self, part: str) -> StateChanged:
        """Wait until the VM has given this as part of the reason of a state."""
        return await self._told(StateChanged, 1, lambda body: part in body.reason)

    async def job(self, phase: str, *, times: int = 1) -> JobChanged:
        """Wait until jobs were that often in a phase; return what was said last."""
        return await self._told(JobChanged, times, lambda body: body.phase == phase)

    async def note(self, part: str = "", *, times: int = 1) -> Note:
        """Wait until there were that many notes with this in them; return the last."""
        return await self._told(Note, times, lambda body: part in body.message)

    async def _told(self, kind: type[B], times: int, wanted: Callable[[B], bool]) -> B:
        async with asyncio.timeout(PATIENCE), self._news:
            while True:
                bodies = [event.body for event in self.events if isinstance(event.body, kind) and wanted(event.body)]
                if len(bodies) >= times:
                    return bodies[times - 1]
                await self._news.wait()

    async def _take(self, request: web.Request) -> web.Response:
        event = Event.model_validate_json(await request.read())
        async with self._news:
            if event.id not in {known.id for known in self.events}:
                self.events.append(event)
            self._news.notify_all()
        return web.Response(status=204)


@dataclass
class Daemon:
    """An agent beneath `root`; `log` and `settings` lie in `folder`.

    Arguments:
        prefix: the beginning of a command line that becomes the agent.
    """

    folder: Path
    root: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    prefix: tuple[str, ...] = ()
    process: asyncio.subprocess.Process | None = None

    @property
    def config(self) -> Path:
        """Its settings file."""
        return self.folder / "agent.toml"

    @property
    def log(self) -> Path:
        """Its log, at debug level."""
        return self.folder / "agent.log"

    @property
    def errors(self) -> Path:
        """What it writes to standard error."""
        return self.folder / "agent.errors"

    def configure(self, controller: Controller | None, **tables: Mapping[str, object]) -> None:
        """Write the settings file: quick stops, a debug log, and what `tables` say."""
        settings: dict[str, Mapping[str, object]] = {"log": {"level": "debug", "file": str(self.log)}}
        if controller is not None:
            settings["http"] = {"url": controller.url, "token": "controller-token"}
        settings |= tables
        lines = [f"root = {json.dumps(str(self.root))}", "stop_timeout = 5"]
        for table, values in settings.items():
            lines.append(f"[{table}]")
            lines += [f"{name} = {json.dumps(value)}" for name, value in values.items()]
        self.config.write_text("\n".join(lines) + "\n")

    async def start(self) -> None:
        """Start it; it is on its way up when this returns."""
        with self.errors.open("ab") as errors:
            self.process = await asyncio.create_subprocess_exec(
                *self.prefix,
                *AGENT,
                "--config",
                self.config,
                env={**UNTRUSTING, **self.environment},
                stderr=errors,
                start_new_session=True,
            )

    async def end(self, number: signal.Signals = signal.SIGTERM, within: float = 20.0) -> int:
        """Send it a signal that ends it, and return its exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        async with asyncio.timeout(within):
            return await self.process.wait()

    def hang_up(self) -> None:
        """Send it SIGHUP."""
        assert self.process is not None
        self.process.send_signal(signal.SIGHUP)

    async def command(self, *arguments: str, given: str = "") -> tuple[int, str, str]:
        """Run `ucvm-agent` with these arguments on the same settings; return exit code, output, error output.

        Arguments:
            given: what it gets on standard input.
        """
        process = await asyncio.create_subprocess_exec(
            *AGENT,
            *arguments,
            "--config",
            self.config,
            env={**UNTRUSTING, **self.environment},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(PATIENCE):
            output, errors = await process.communicate(given.encode())
        assert process.returncode is not None
        return process.returncode, output.decode(), errors.decode()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
