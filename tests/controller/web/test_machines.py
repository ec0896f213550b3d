"""What a VM is told over HTTP arrives at it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.controller.conftest import Make
from tests.controller.ledger.test_ledger import event
from tests.controller.peer import Peer, peer
from tests.controller.web.site import Api, client
from tests.controller.web.test_commands import Shell
from tests.controller.web.test_jobs import FETCHED, submit
from tests.servers.prosody import Prosody
from ucvm_agent.controller.controller import Controller
from ucvm_agent.controller.web.site import open_site
from ucvm_agent.copilot import context
from ucvm_agent.copilot.context import Offer
from ucvm_agent.copilot.messages import CancelJob, Drain, Resume
from ucvm_agent.events import Note

PLAN = {
    "problems": [{"severity": "warning", "part": "", "line": 3, "message": "odd", "hint": ""}],
    "actions": [
        {"contextualizer": "hostname", "kind": "SetHostName", "target": "vm7", "change": "update", "diff": "-a\n+vm7"}
    ],
}


@dataclass
class Site:
    """A controller with its site, and a VM at the other end."""

    manager: Controller
    api: Api
    agent: Peer
    shell: Shell


@pytest.fixture
def context_folder(tmp_path: Path) -> Path:
    """A folder of contexts, empty."""
    folder = tmp_path / "contexts"
    folder.mkdir()
    return folder


@pytest.fixture
async def site(prosody: Prosody, run_controller: Make, tmp_path: Path, context_folder: Path) -> AsyncIterator[Site]:
    """All of it, with a VM that has been heard of."""
    async with (
        run_controller(http={"listen": "127.0.0.1:0"}, contexts={"folder": context_folder}) as manager,
        open_site(manager) as url,
        client(manager, url) as api,
        peer(prosody, "agent1") as agent,
    ):
        now = datetime.now(UTC)
        await manager.ledger.record(event(Note(message="x")), agent.connection.jid, now=now)
        await manager.ledger.claim("m1", agent.connection.jid, host="wn01.example.org", now=now)
        await manager.ledger.present("m1", agent.connection.jid, online=True, now=now)
        yield Site(manager, api, agent, Shell(api, tmp_path))


async def test_a_machine_is_drained_and_resumed(site: Site) -> None:
    """By its id over HTTP, and by its name at a shell."""
    assert (await site.api.ask("POST", "/api/v1/vms/m1/drain", json={"reason": "kernel"})).status == 202
    order, _ = await site.agent.hear(Drain)
    assert order.reason == "kernel"
    assert (await site.shell("resume", "wn01")).code == 0
    await site.agent.hear(Resume)
    assert (await site.api.ask("POST", "/api/v1/vms/nobody/drain")).status == 404


async def test_a_cancelled_job_is_stopped(site: Site) -> None:
    """Its VM is told, with the lease that it has."""
    await submit(site.api, FETCHED, "j")
    now = datetime.now(UTC)
    job = await site.manager.ledger.take(site.agent.connection.jid, machine_id="m1", host="", now=now, seconds=180)
    assert job is not None
    assert job.lease is not None
    assert (await site.api.ask("POST", "/api/v1/jobs/j/cancel")).json["status"] == "cancelled"
    order, _ = await site.agent.hear(CancelJob)
    assert (order.job_id, order.lease) == ("j", job.lease.id)


async def test_a_context_is_pushed_if_there_is_one(site: Site, context_folder: Path) -> None:
    """Else the answer says what is missing."""
    absent = await site.api.ask("POST", "/api/v1/vms/m1/push")
    assert (absent.status, "no context" in absent.json["error"]) == (409, True)
    (context_folder / "default.context").write_text("#!/bin/sh\n")
    assert (await site.api.ask("POST", "/api/v1/vms/m1/push")).json["sequence"] > 0
    offer = context.read(await site.agent.next())
    assert isinstance(offer, Offer)
    assert not offer.rehearsal


@pytest.mark.parametrize(("severity", "code"), [("warning", 0), ("error", 3)])
async def test_a_plan_is_shown(site: Site, context_folder: Path, severity: str, code: int) -> None:
    """As the VM has made it; the exit code is that of a dry run on the VM."""
    (context_folder / "default.context").write_text("#!/bin/sh\n")
    asked = asyncio.create_task(site.shell("push", "m1", "--dry-run"))
    while True:  # the new file may have been noticed, and told, before
        envelope = await site.agent.next()
        offer = context.read(envelope)
        assert isinstance(offer, Offer)
        if offer.rehearsal:
            break
    for content in context.plan(offer, json.dumps(PLAN).replace("warning", severity), ""):
        site.agent.tell(envelope.sender, content, noack=True)
    shown = await asked
    assert shown.code == code
    expected = [f"{severity}: line 3: odd", "update  hostname: SetHostName vm7", "    -a", "    +vm7"]
    assert shown.out.splitlines() == expected, shown.errors
