"""Is it alive, and how is it? Asked of the real daemon over the real Prosody, directly and in its chat room."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from xml.etree.ElementTree import Element, tostring

import pytest
from slixmpp import JID
from slixmpp.plugins.xep_0004 import Form

from tests.operators.site import LOUNGE, RESOURCE, Person, Site
from ucvm_agent.copilot import messages
from ucvm_agent.copilot.messages import (
    AnyMessage,
    Drain,
    GetStatus,
    HaveStatus,
    Ping,
    Pong,
    ReportDuration,
    ReportEvent,
    ReportValue,
)
from ucvm_agent.copilot.stanza import Envelope, message_element, read_message

EVENTS = (ReportEvent, ReportDuration)
"""What a controller is told as well."""

ROOM = {"room": LOUNGE}
ANSWERS = {
    "systemLoad": r"\d+\.\d\d \d+\.\d\d \d+\.\d\d",
    "diskUsage": r"(/\S* \d+ MB used, \d+ MB available\n?)+",
    "memoryUsage": r"mem \d+ MB used, \d+ MB available\nswap \d+ MB used, \d+ MB available",
    "runningProcesses": r"\d+ processes(\n\d+ \d+MB \S+ .+)+",
    "nonsense": "unknown component: ask for systemLoad, diskUsage, memoryUsage, runningProcesses",
}


def ask(person: Person, to: str, message: AnyMessage, kind: str = "") -> str:
    """Send a command and return its id."""
    envelope = Envelope(id=str(uuid.uuid4()), to=to, content=messages.content(message))
    element = message_element(envelope)
    if kind:
        element.set("type", kind)
    person.send_raw(tostring(element, "unicode"))
    return envelope.id


async def hear(person: Person) -> tuple[str, AnyMessage]:
    """Return the next command that is no event, and who has sent it."""
    heard: tuple[str, AnyMessage] = await person.next(_told)
    return heard


def _told(element: Element) -> tuple[str, AnyMessage] | None:
    envelope = read_message(element)
    message = messages.read(envelope)
    return None if message is None or isinstance(message, EVENTS) else (envelope.sender, message)


@asynccontextmanager
async def in_room(site: Site, person: Person) -> AsyncIterator[asyncio.Event]:
    """Let somebody enter the room; what is yielded is set when the VM is there as well."""
    there = asyncio.Event()

    def look(presence: Any) -> None:
        if presence["from"].resource == RESOURCE and presence["type"] != "unavailable":
            there.set()

    person.add_event_handler(f"muc::{LOUNGE}::presence", look)
    await enter(person, "lookout")
    yield there


async def enter(person: Person, nickname: str) -> None:
    """Let somebody enter the room; who makes it by that, opens it to others."""
    rooms = person.plugin["xep_0045"]
    presence, *_ = await rooms.join_muc_wait(JID(LOUNGE), nickname, maxstanzas=0, timeout=20)
    if 201 in presence["muc"]["status_codes"]:
        await rooms.set_room_config(LOUNGE, Form())  # type: ignore[no-untyped-call]  # as slixmpp leaves it


async def test_a_controller_asks(site: Site) -> None:
    """Each question has its answer; what cannot be answered says what can."""
    await site.start()
    boss = await site.person()
    asked = ask(boss, boss.vm, Ping())
    assert await boss.next(lambda element: read_message(element).ack) == asked
    assert await hear(boss) == (boss.vm, Pong())
    for component, pattern in ANSWERS.items():
        ask(boss, boss.vm, GetStatus(component=component))
        _, told = await hear(boss)
        assert isinstance(told, HaveStatus)
        assert told.component == component
        assert re.fullmatch(pattern, told.status), told.status


async def test_a_stranger_asks(site: Site) -> None:
    """There is no answer, not even that the question has come."""
    await site.start()
    stranger, boss = await site.person("stranger"), await site.person()
    ask(stranger, stranger.vm, Ping())
    ask(boss, boss.vm, Ping())
    await hear(boss)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await stranger.next(lambda element: read_message(element).sender)


async def test_before_there_is_a_context(site: Site) -> None:
    """The heartbeat is answered in every state."""
    site.user_data.unlink()
    await site.daemon.start()
    async with Person(site.prosody, "boss", "watch") as boss:
        await boss.sees_vm()
        ask(boss, boss.vm, Ping())
        assert await hear(boss) == (boss.vm, Pong())


async def test_anybody_in_the_chat_room_asks(site: Site) -> None:
    """In a private message, by the machine's nickname; nobody can give orders that way."""
    site.configure({"monitoring": ROOM})
    await site.start()
    stranger = await site.person("stranger")
    async with in_room(site, stranger) as vm_is_there:
        async with asyncio.timeout(20):
            await vm_is_there.wait()
        nickname = f"{LOUNGE}/{RESOURCE}"
        ask(stranger, nickname, Drain(reason="because"))
        ask(stranger, LOUNGE, Ping(), "groupchat")
        ask(stranger, nickname, GetStatus(component="systemLoad"))
        sender, told = await hear(stranger)
        if told == Ping():  # as the room repeats it to everybody
            sender, told = await hear(stranger)
        assert sender == nickname
        assert isinstance(told, HaveStatus)
    assert "draining" not in site.controller.states


async def test_a_room_in_which_nobody_gets_an_answer(site: Site) -> None:
    """The machine is to be seen there, and that is all."""
    site.configure({"monitoring": {**ROOM, "room_answers": False}})
    await site.start()
    boss = await site.person()
    async with in_room(site, boss) as vm_is_there:
        async with asyncio.timeout(20):
            await vm_is_there.wait()
        ask(boss, f"{LOUNGE}/{RESOURCE}", Ping())
        ask(boss, boss.vm, Ping())
        assert await hear(boss) == (boss.vm, Pong())


async def test_the_machine_is_in_the_room_again(site: Site) -> None:
    """After the server was away."""
    site.configure({"monitoring": ROOM})
    await site.start()
    await site.prosody.kill()
    await site.prosody.start()
    boss = await site.person()
    async with in_room(site, boss) as vm_is_there, asyncio.timeout(20):
        await vm_is_there.wait()


async def test_another_has_the_nickname(site: Site) -> None:
    """The machine takes a random one."""
    site.configure({"monitoring": ROOM})
    stranger = await site.person("stranger")
    nicknames: asyncio.Queue[str] = asyncio.Queue()
    stranger.add_event_handler(
        f"muc::{LOUNGE}::presence", lambda presence: nicknames.put_nowait(presence["from"].resource)
    )
    await enter(stranger, RESOURCE)
    await site.start()
    async with asyncio.timeout(10):
        while (nickname := await nicknames.get()) == RESOURCE:
            pass
    assert re.fullmatch("[0-9a-f]{4}-[0-9a-f]{4}", nickname)


async def test_a_monitor_is_told(site: Site) -> None:
    """By the names of the reference, without acknowledgements."""
    site.configure({"monitoring": {"monitor": site.prosody.jid("mon"), "interval": 0.2}})
    monitor = await site.person("mon")
    await site.start()
    values: dict[str, str] = {}
    while "system.ram.available.swap" not in values:
        envelope = await monitor.next(lambda element: read_message(element))
        told = messages.read(envelope)
        assert isinstance(told, ReportValue)
        assert (told.component, envelope.noack, bool(envelope.id)) == ("agent", True, True)
        values[told.event] = told.value
    assert {"system.load.1min", "system.disk.used.root", "system.ram.used.mem"} <= set(values)
    assert all(re.fullmatch(r"\d+(\.\d\d)?", value) for value in values.values())
