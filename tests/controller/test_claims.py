"""Naming another account's machine gets nobody its job, its context, or its name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.controller.conftest import Make
from tests.controller.peer import Peer, peer
from tests.controller.test_contexts import write
from tests.servers.prosody import Prosody
from tests.servers.redis import RedisServer
from ucvm_agent.controller.controller import Controller
from ucvm_agent.controller.model import Description, JobStatus
from ucvm_agent.copilot import context
from ucvm_agent.copilot.context import Card, Offer
from ucvm_agent.copilot.messages import GetJob, HaveJob, NoJob, RunJob, WantJob

SCRIPT = Description(command="run.sh", input_files=("run.sh",))
CARD = Card("m1", "i-0123", "vm1.example.org")
NOBODYS = Card("m2")


@dataclass
class Place:
    """A controller with a context for the machine m1 of `agent`, and another account."""

    controller: Controller
    manager: str
    agent: Peer
    thief: Peer


@pytest.fixture(params=["sqlite", "redis"])
async def place(
    request: pytest.FixtureRequest, prosody: Prosody, run_controller: Make, redis_server: RedisServer, tmp_path: Path
) -> AsyncIterator[Place]:
    """With each ledger in turn."""
    folder = tmp_path / "contexts"
    folder.mkdir()
    for name in ("m1", "i-0123", "vm1.example.org"):
        write(folder, f"{prosody.jid('agent1')}/{name}", f"the secret of {name}", 20)
    write(folder, "default", "for all", 10)
    redis = redis_server.url if request.param == "redis" else ""
    async with (
        run_controller(contexts={"folder": folder}, redis=redis) as controller,
        peer(prosody, "agent1") as agent,
        peer(prosody, "agent2", "9876543210") as thief,
    ):
        yield Place(controller, f"{prosody.jid('jm')}/alpha", agent, thief)


async def offered(who: Peer, manager: str, card: Card) -> Offer:
    """Ask for a context, and return what is offered next."""
    who.tell(manager, context.want(card, card.machine_id), noack=True)
    offer = context.read(await who.next())
    assert isinstance(offer, Offer)
    return offer


async def refused(place: Place) -> dict[str, Any]:
    """Let the thief ask for a context of its own, so that all before was seen; return what is known of m1."""
    offer = await offered(place.thief, place.manager, NOBODYS)
    assert offer.request == NOBODYS.machine_id
    machine = await place.controller.ledger.machine("m1")
    assert machine is not None
    return machine.model_dump(include={"jid", "host", "instance_id", "refused", "refused_from"})


async def test_a_context_is_its_account_s_only(place: Place) -> None:
    """Neither offered nor given to another account, which may know all there is to know about it."""
    offer = await offered(place.agent, place.manager, CARD)
    place.thief.tell(place.manager, context.want(CARD, "r"), noack=True)
    place.thief.tell(place.manager, context.get(CARD, "r", offer, 0), noack=True)
    known = await refused(place)
    assert (known["jid"], known["refused"]) == (place.agent.connection.jid, 2)
    nameless = Card("", CARD.instance_id, CARD.host)
    place.thief.tell(place.manager, context.get(nameless, "r", offer, 0), noack=True)
    default = await offered(place.thief, place.manager, nameless)
    assert default.sequence == 10_000_000
    assert place.thief.messages.empty()


async def test_a_job_is_not_handed_to_another_account_s_machine(place: Place) -> None:
    """Whoever asked for a job first is the machine; another account is told that there is none."""
    place.agent.say(place.manager, WantJob(machine_id="m1", request="r", agent_host="vm1"))
    await place.agent.hear(NoJob)
    with capture_logs() as logs:
        for ask in (WantJob, GetJob):
            place.thief.say(place.manager, ask(machine_id="m1", request="s", agent_host="mine"))
            assert (await place.thief.hear(NoJob))[0].request == "s"
    dropped = [entry for entry in logs if entry["event"].endswith("of another account's machine is dropped")]
    assert [(entry["sender"], entry["machine"]) for entry in dropped] == [(place.thief.connection.jid, "m1")] * 2
    assert (await refused(place)) == {
        "jid": place.agent.connection.jid,
        "host": "vm1",
        "instance_id": "",
        "refused": 2,
        "refused_from": place.thief.connection.jid,
    }
    await place.controller.submit(SCRIPT, "j")
    await place.agent.hear(HaveJob)
    place.thief.say(place.manager, GetJob(machine_id="m1", request="t"))
    await place.thief.hear(NoJob)
    place.agent.say(place.manager, GetJob(machine_id="m1", request="u", agent_host="vm1"))
    await place.agent.hear(RunJob)
    job = await place.controller.ledger.job("j")
    assert job is not None
    assert (job.status, job.tries) == (JobStatus.RUNNING, 1)
    assert place.thief.messages.empty()


async def test_a_machine_that_was_forgotten_may_be_another_account_s(place: Place) -> None:
    """Of the one that asks first from then on; the context stays with the account that it was written for."""
    assert (await offered(place.agent, place.manager, CARD)).sequence == 20_000_000
    assert await place.controller.ledger.forget_machine("m1", before=datetime.now(UTC))
    assert (await offered(place.thief, place.manager, CARD)).sequence == 10_000_000
    place.agent.say(place.manager, GetJob(machine_id="m1", request="r"))
    await place.agent.hear(NoJob)


async def test_an_id_that_is_none_claims_nothing(place: Place) -> None:
    """It would be kept, and shown."""
    place.thief.say(place.manager, GetJob(machine_id="m 1", request="r"))
    await place.thief.hear(NoJob)
    place.thief.say(place.manager, GetJob(machine_id="m" * 129, request="r"))
    await place.thief.hear(NoJob)
    assert await place.controller.ledger.machines() == []
