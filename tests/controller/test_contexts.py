"""Contexts from a folder: real VM ends ask, are told of newer ones, and rehearse (docs/protocol-context.md)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.controller.conftest import Make
from tests.controller.ledger.test_ledger import NOW, event, later
from tests.controller.peer import Peer, peer
from tests.servers.prosody import Prosody
from ucvm_agent.controller import contexts
from ucvm_agent.controller.context_folder import choose
from ucvm_agent.copilot import context
from ucvm_agent.copilot.context import MAX_CONTEXT, Card, Offer, Part
from ucvm_agent.errors import OrderError
from ucvm_agent.events import Note

CARD = Card("m1", "i-0123", "vm1.example.org")
SECOND = 1_000_000_000


def write(folder: Path, place: str, text: str, seconds: int) -> None:
    """Write a context as if at a time."""
    path = folder / f"{place}.context"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    os.utime(path, ns=(seconds * SECOND, seconds * SECOND))


async def fetch(agent: Peer, manager: str, offer: Offer, request: str = "r") -> bytes:
    """Get an offered context, part by part."""
    data = b""
    while True:
        agent.tell(manager, context.get(CARD, request, offer, len(data)), noack=True)
        part = context.read(await agent.next())
        assert isinstance(part, Part)
        assert (part.request, part.offset, part.digest) == (request, len(data), offer.digest)
        data += part.user_data
        if len(data) == part.size:
            return data


async def ask(agent: Peer, to: str) -> tuple[Offer, str]:
    """Ask for a context; return the offer, and who made it."""
    agent.tell(to, context.want(CARD, "r"), noack=True)
    envelope = await agent.next()
    offer = context.read(envelope)
    assert isinstance(offer, Offer)
    assert offer.request == "r"
    return offer, envelope.sender


async def test_a_machine_gets_the_context_that_is_named_for_it(
    prosody: Prosody, run_controller: Make, tmp_path: Path
) -> None:
    """Whole, however long it is, with the time of the file as its sequence number."""
    text = "#!/bin/sh\n" + "echo µ\n" * 20_000
    write(tmp_path, "default", "nothing", 1)
    write(tmp_path, f"{prosody.jid('agent1')}/m1", text, 1_700_000_000)
    async with run_controller(contexts={"folder": tmp_path}), peer(prosody, "agent1") as agent:
        offer, manager = await ask(agent, prosody.jid("jm"))
        assert offer.sequence == 1_700_000_000_000_000
        assert await fetch(agent, manager, offer) == text.encode()
        gone = offer.model_copy(update={"sequence": 5})
        agent.tell(manager, context.get(CARD, "r", gone, 0), noack=True)
        again, _ = await ask(agent, prosody.jid("jm"))  # the only answer
        assert again == offer


async def test_a_context_that_changes_is_announced(
    prosody: Prosody, run_controller: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the machines that it is for, however many were heard of since; and on request."""
    monkeypatch.setattr(contexts, "LOOK_SECONDS", 0.1)
    own = prosody.jid("agent1")
    write(tmp_path, f"{own}/m1", "first", 10)
    async with run_controller(contexts={"folder": tmp_path}) as controller, peer(prosody, "agent1") as agent:
        await ask(agent, prosody.jid("jm"))
        await controller.ledger.record(event(Note(message="x")), agent.connection.jid, now=NOW)
        assert await controller.contexts.push("m1") == 10_000_000
        told = context.read(await agent.next())
        assert isinstance(told, Offer)
        assert (told.command, told.sequence, told.rehearsal) == ("newContext", 10_000_000, False)
        others = [event(Note(message="x"), f"other{number}") for number in range(1000)]
        record = controller.ledger.record
        await asyncio.gather(*(record(other, prosody.jid("agent2"), now=later(1)) for other in others))
        write(tmp_path, f"{own}/i-0123", "not the best name", 15)
        write(tmp_path, f"{own}/m1", "second", 20)
        while told.sequence != 20_000_000:
            told = context.read(await agent.next())
            assert isinstance(told, Offer)
        with pytest.raises(OrderError):
            await controller.contexts.push("nobody")


async def test_a_dry_run_brings_the_plan(prosody: Prosody, run_controller: Make) -> None:
    """Of a context that nobody else is offered; its parts are put together, a reason is an error."""
    async with run_controller() as controller, peer(prosody, "agent1") as agent:
        await controller.ledger.record(event(Note(message="x")), agent.connection.jid, now=NOW)
        for reason in ("", "no such user"):
            rehearsal = asyncio.create_task(controller.contexts.rehearse("m1", b"#!/bin/sh\nexit 0\n"))
            envelope = await agent.next()
            offer = context.read(envelope)
            assert isinstance(offer, Offer)
            assert offer.rehearsal
            assert await fetch(agent, envelope.sender, offer) == b"#!/bin/sh\nexit 0\n"
            document = '{"actions": "µ' + "x" * 25_000 + '"}'
            for content in context.plan(offer, "" if reason else document, reason):
                agent.tell(envelope.sender, content, noack=True)
            if reason:
                with pytest.raises(OrderError, match=reason):
                    await rehearsal
            else:
                assert await rehearsal == document


async def test_a_context_where_they_used_to_lie_is_for_nobody(
    prosody: Prosody, run_controller: Make, tmp_path: Path
) -> None:
    """A machine only says what it is called; the operator is told where the context belongs."""
    for name in ("m1", "i-0123", "vm1.example.org"):
        write(tmp_path, name, "secret", 20)
    write(tmp_path, "default", "for all", 10)
    with capture_logs() as logs:
        async with run_controller(contexts={"folder": tmp_path}), peer(prosody, "agent1") as agent:
            offer, manager = await ask(agent, prosody.jid("jm"))
            assert await fetch(agent, manager, offer) == b"for all"
    warned = [entry for entry in logs if entry["event"] == "a context is for nobody: it lies in no account's folder"]
    assert [Path(entry["file"]).stem for entry in warned] == ["i-0123", "m1", "vm1.example.org"]
    assert "move it to ACCOUNT/m1.context" in warned[1]["hint"]


def test_the_best_name_counts_and_only_in_the_folder_of_the_account(tmp_path: Path) -> None:
    """One that cannot be read is not stood in for by another one."""

    def found(account: str = "vm@x", names: Sequence[str] = ("m1", "i-1", "vm1")) -> bytes | None:
        context = choose(tmp_path, account, names)
        return context.user_data if context else None

    assert found() is None
    for place in ("default", "vm@x/default", "vm@x/vm1", "vm@x/i-1", "vm@x/m1"):
        write(tmp_path, place, place, 1)
        assert found() == place.encode()
    assert found("thief@x") == b"default"
    assert found(names=("", "other")) == b"vm@x/default"
    (tmp_path / "vm@x/m1.context").write_bytes(b"x" * (MAX_CONTEXT + 1))
    assert found() is None


def test_what_comes_over_the_network_leads_nowhere_else(tmp_path: Path) -> None:
    """Neither the names of machines nor those of accounts."""
    folder = tmp_path / "contexts"
    folder.mkdir()
    write(tmp_path, "secret", "x", 1)
    write(folder, "vm@x/m1", "x", 1)
    names = ("../secret", "../../secret", "", ".", "..", str(tmp_path / "secret"), "a\0b", "vm@x/m1", "m1")
    for account in ("..", ".", "", "vm@x/..", "../vm@x", "@", f"{'a' * 300}@x", "a@b@c", "thief@x", "VM@x"):
        assert choose(folder, account, names) is None
    assert choose(folder, "vm@x", names[:-1]) is None
