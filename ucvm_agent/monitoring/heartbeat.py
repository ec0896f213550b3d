"""Answering who asks whether this machine is alive, and how it is (references/copilot-protocol.md, section 2.14).

In every state of the machine and of its jobs, and without touching them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from ucvm_agent.copilot.messages import GetStatus, HaveStatus, Ping, Pong
from ucvm_agent.errors import DeliveryError

if TYPE_CHECKING:
    from ucvm_agent.copilot.messages import AnyMessage
    from ucvm_agent.copilot.post import Post
    from ucvm_agent.copilot.stanza import Envelope

log = structlog.get_logger()

MOST_QUESTIONS = 32
"""Questions about the machine that may wait; what comes on top is dropped, and its sender will ask again."""

MOST_PROCESSES = 50
"""Processes in one answer."""


class Component(StrEnum):
    """The parts of a machine that may be asked about."""

    LOAD = "systemLoad"
    DISK = "diskUsage"
    MEMORY = "memoryUsage"
    PROCESSES = "runningProcesses"


class Heartbeat:
    """Answers through the post of a connection.

    Arguments:
        post: lets only those through who may ask.
        folders: whose disks are told of.
    """

    def __init__(self, post: Post, folders: Sequence[Path]) -> None:
        self._post = post
        self._folders = folders
        self._questions: asyncio.Queue[tuple[str, str]] = asyncio.Queue(MOST_QUESTIONS)
        post.on(Ping, self._on_ping)
        post.on(GetStatus, self._on_question)

    async def run(self) -> None:
        """Answer, one after the other, until cancelled."""
        while True:
            sender, component = await self._questions.get()
            status = await self._status(component)
            self._answer(sender, HaveStatus(component=component, status=status))

    def _on_ping(self, sender: str, _: Ping, __: Envelope) -> None:
        self._answer(sender, Pong())

    def _on_question(self, sender: str, question: GetStatus, _: Envelope) -> None:
        if self._questions.full():
            log.debug("too many questions about the machine", sender=sender)
        else:
            self._questions.put_nowait((sender, question.component))

    async def _status(self, component: str) -> str:
        """Return an answer for people; the original's layout is not known, but for the load."""
        try:
            return await _ANSWERS[Component(component)](self._folders)
        except ValueError:
            return f"unknown component: ask for {', '.join(Component)}"
        except (OSError, TimeoutError) as error:
            return f"the system does not tell: {error or 'not in time'}"

    def _answer(self, sender: str, message: AnyMessage) -> None:
        try:
            self._post.send(sender, message)
        except DeliveryError as error:
            log.debug("a heartbeat was not answered", sender=sender, reason=error.message)


async def _load(folders: Sequence[Path]) -> str:
    from ucvm_agent.monitoring.figures import read

    return " ".join(f"{value:.2f}" for value in (await read(folders)).load)


async def _disk(folders: Sequence[Path]) -> str:
    from ucvm_agent.monitoring.figures import MEBIBYTE, read

    disks = (await read(folders)).disks
    return "\n".join(
        f"{disk.mount} {disk.space.used // MEBIBYTE} MB used, {disk.space.available // MEBIBYTE} MB available"
        for disk in disks
    )


async def _memory(folders: Sequence[Path]) -> str:
    from ucvm_agent.monitoring.figures import MEBIBYTE, read

    figures = await read(folders)
    return "\n".join(
        f"{name} {space.used // MEBIBYTE} MB used, {space.available // MEBIBYTE} MB available"
        for name, space in (("mem", figures.memory), ("swap", figures.swap))
    )


async def _processes(folders: Sequence[Path]) -> str:
    from ucvm_agent.monitoring.figures import read, read_processes

    count = (await read(folders)).processes
    return "\n".join([f"{count} processes", *await read_processes(MOST_PROCESSES)])


_ANSWERS: dict[Component, Callable[[Sequence[Path]], Awaitable[str]]] = {
    Component.LOAD: _load,
    Component.DISK: _disk,
    Component.MEMORY: _memory,
    Component.PROCESSES: _processes,
}
