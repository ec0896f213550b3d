"""Contexts from controllers over a real Prosody: asked for, pushed, and planned only."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.daemon.running import PATIENCE, Daemon
from tests.daemon.running import Controller as Listener
from tests.servers.controller import Controller
from tests.servers.prosody import Prosody
from ucvm_agent.assignment import controllers as asking
from ucvm_agent.assignment.controllers import Controllers
from ucvm_agent.assignment.visit import Known, Visit
from ucvm_agent.copilot.context import Card
from ucvm_agent.copilot.signature import Signer, Verifier
from ucvm_agent.copilot.signing_key import load_or_make
from ucvm_agent.errors import SourceError, SourceRefused, SourceUnavailable
from ucvm_agent.network.retry import waits
from ucvm_agent.settings import Xmpp
from ucvm_agent.xmpp.client import Connection

CARD = Card("9c2e", "i-1", "vm1.example.org", {"product_uuid": "ec2-1"})
CONTEXT = b"#cloud-config\nhostname: worker-1\n"
RESOURCE = "vm"


@dataclass
class Site:
    """A server, and those who log in to it."""

    prosody: Prosody
    stack: AsyncExitStack

    def account(self, controllers: str = "jm") -> dict[str, Any]:
        return {
            "jid": f"{self.prosody.jid('agent')}/{RESOURCE}",
            "password": "pw",
            "host": self.prosody.host,
            "port": self.prosody.port,
            "ca_file": str(self.prosody.ca_file),
            "controllers": [self.prosody.jid(name) for name in controllers.split(",")],
        }

    @property
    def vm(self) -> str:
        return f"{self.prosody.jid('agent')}/{RESOURCE}"

    async def controller(self, name: str = "jm", user_data: bytes | None = CONTEXT, **handout: Any) -> Controller:
        """Bring a controller online that has a context."""
        server = self.prosody
        controller = Controller(server.jid(name), "pw", server.host, server.port, server.ca_file)
        for attribute, value in {"user_data": user_data, **handout}.items():
            setattr(controller.handout, attribute, value)
        return await self.stack.enter_async_context(controller)

    @asynccontextmanager
    async def agent(
        self, controllers: str = "jm", newest: int = 0, *pins: tuple[str, str]
    ) -> AsyncIterator[Controllers]:
        """Bring the asking half of an agent online, which knows these keys."""
        settings = Xmpp.model_validate(self.account(controllers))
        connection = Connection(settings, "", away=waits(0.05, 0.2))
        verifier = Verifier(settings, connection.jid, Known(keys={self.prosody.jid(name): key for name, key in pins}))
        asker = Controllers(connection, settings, CARD, verifier, newest=newest)
        running = asyncio.create_task(connection.run())
        try:
            yield asker
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    folder = tmp_path / "prosody"
    folder.mkdir()
    accounts = dict.fromkeys(("agent", "jm", "mon", "stranger"), "pw")
    async with Prosody(folder, accounts) as prosody, AsyncExitStack() as stack, asyncio.timeout(PATIENCE):
        yield Site(prosody, stack)


async def test_a_controller_gives_a_context_to_a_machine_that_it_knows(site: Site) -> None:
    """The machine says who it is, in each of its two questions."""
    controller = await site.controller(sequence=7)
    async with site.agent() as agent:
        assignment = await agent.ask()
    assert (assignment.user_data, assignment.sequence) == (CONTEXT, 7)
    assert assignment.controller == site.prosody.jid("jm")
    for command in ("want_getContext", "getContext"):
        asked = await controller.handout.asked.get()
        assert asked["command"] == command
        said = {name: asked[name] for name in ("machineID", "instanceID", "agentHost", "facts")}
        assert said == CARD.as_hash()


async def test_a_large_context_comes_in_parts(site: Site) -> None:
    """Each message is small enough for the server."""
    large = bytes(range(256)) * 4096
    controller = await site.controller(user_data=large)
    async with site.agent() as agent:
        assert (await agent.ask()).user_data == large
    assert controller.handout.asked.qsize() == 1 + -(-len(large) // 30_000)


async def test_an_empty_context_is_one(site: Site) -> None:
    """A controller may want a machine to be nothing in particular."""
    await site.controller(user_data=b"")
    async with site.agent() as agent:
        assert (await agent.ask()).user_data == b""


async def test_nobody_has_a_context(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither one that is not online nor one that is silent offers any."""
    monkeypatch.setattr(asking, "OFFER_SECONDS", 0.5)
    await site.controller(user_data=None)
    async with site.agent("jm,mon") as agent:
        with pytest.raises(SourceUnavailable, match="no controller offers"):
            await agent.ask()


async def test_of_two_controllers_the_one_that_is_not_behind(site: Site) -> None:
    """After a restart a stale controller cannot take a machine back to an older context."""
    await site.controller("jm", b"old", sequence=3)
    await site.controller("mon", b"new", sequence=5)
    async with site.agent("jm,mon", newest=4) as agent:
        assert (await agent.ask()).user_data == b"new"


async def test_only_older_contexts(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are not taken, and the reason names the controller."""
    monkeypatch.setattr(asking, "OFFER_SECONDS", 0.5)
    await site.controller(sequence=3)
    async with site.agent(newest=4) as agent:
        with pytest.raises(SourceUnavailable, match=r"jm@.* offers context 3, and only 4 or later"):
            await agent.ask()


@pytest.mark.parametrize(
    ("handout", "error", "match"),
    [
        ({"digest": hashlib.sha256(b"other").hexdigest()}, SourceRefused, "another digest"),
        ({"part": 0}, SourceRefused, "do not fit"),
        ({"mute": True}, SourceUnavailable, "broke off after 0 bytes"),
    ],
)
async def test_a_context_that_is_not_what_was_offered(
    site: Site, monkeypatch: pytest.MonkeyPatch, handout: dict[str, Any], error: type[SourceError], match: str
) -> None:
    """It is refused; one that does not come can be asked for again."""
    monkeypatch.setattr(asking, "PART_SECONDS", 0.5)
    await site.controller(**handout)
    async with site.agent() as agent:
        with pytest.raises(error, match=match):
            await agent.ask()


async def test_strangers_count_for_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither their pushes nor their offers are obeyed or acknowledged."""
    monkeypatch.setattr(asking, "OFFER_SECONDS", 0.5)
    controller = await site.controller(user_data=None)
    stranger = await site.controller("stranger", sequence=9)
    async with site.agent() as agent:
        asked = asyncio.create_task(agent.ask())
        want = await controller.handout.asked.get()
        stranger.tell(site.vm, {"command": "have_getContext", "request": want["request"], **stranger.handout.told()})
        stranger.push(site.vm, dry_run=True)
        with pytest.raises(SourceUnavailable, match="no controller offers"):
            await asked
    assert stranger.handout.asked.empty()
    assert stranger.acknowledged.empty()


async def test_unsigned_orders_of_a_controller_that_signs(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """They count for nothing, though the server says that they are from its account."""
    monkeypatch.setattr(asking, "OFFER_SECONDS", 0.5)
    signer = Signer(Ed25519PrivateKey.generate(), site.prosody.jid("jm"))
    controller = await site.controller()
    async with site.agent("jm", 0, ("jm", signer.public)) as agent:
        controller.push(site.vm)
        with pytest.raises(SourceUnavailable, match="no controller offers"):
            await agent.ask()
        assert controller.acknowledged.empty()
        controller.signer = signer
        assert (await agent.ask()).user_data == CONTEXT


async def test_a_newer_context_is_pushed(site: Site) -> None:
    """The push is acknowledged, and an old one leads to nothing."""
    controller = await site.controller(sequence=1)
    async with site.agent() as agent:
        await agent.ask()
        pushes = agent.pushes()
        stale = controller.push(site.vm)
        controller.handout.user_data, controller.handout.sequence = b"newer", 2
        pushed = controller.push(site.vm)
        assert (await anext(pushes)).user_data == b"newer"
        assert [await controller.acknowledged.get() for _ in range(2)] == [stale, pushed]


async def test_a_push_while_the_server_is_away(site: Site) -> None:
    """A new session is reason enough to ask whether there is a newer context."""
    controller = await site.controller(sequence=1)
    async with site.agent() as agent:
        await agent.ask()
        waiting = asyncio.ensure_future(anext(agent.pushes()))
        await site.prosody.kill()
        controller.handout.user_data, controller.handout.sequence = b"newer", 2
        await site.prosody.start()
        assert (await waiting).user_data == b"newer"


async def test_a_command_asks_over_a_connection_of_its_own(site: Site, tmp_path: Path) -> None:
    """It takes nothing away from the daemon, which is logged in to the same account."""
    controller = await site.controller()
    async with site.agent() as daemon:
        await daemon.ask()
        visit = Visit(Xmpp.model_validate(site.account()), tmp_path / "state.db")
        assert (await visit.ask()).user_data == CONTEXT
        controller.handout.sequence = 2
        controller.push(site.prosody.jid("agent"))
        assert (await anext(daemon.pushes())).sequence == 2


# The whole daemon


@pytest.fixture
async def daemon(site: Site, tmp_path: Path, scratch_root: Path) -> AsyncIterator[Daemon]:
    async with Listener() as listener, Daemon(tmp_path, scratch_root) as daemon:
        daemon.configure(listener, sources={"names": ["xmpp"], "deadline": 3.0}, xmpp=site.account())
        yield daemon


def hostname(daemon: Daemon) -> str:
    return (daemon.root / "etc/hostname").read_text()


async def reported(controller: Controller, wanted: str) -> None:
    """Wait until a controller has been told of a state."""
    while getattr((await controller.events.get()).body, "state", "") != wanted:
        pass


async def test_a_pushed_context_is_applied_and_reported(site: Site, daemon: Daemon) -> None:
    """And a restart keeps to it, whatever a controller that is behind, or none, has to offer."""
    controller = await site.controller()
    await daemon.start()
    await reported(controller, "ready")
    assert hostname(daemon) == "worker-1\n"
    controller.handout.user_data, controller.handout.sequence = b"#cloud-config\nhostname: worker-2\n", 2
    controller.push(site.vm)
    await reported(controller, "ready")
    assert hostname(daemon) == "worker-2\n"
    assert await daemon.end() == 0
    controller.handout.user_data, controller.handout.sequence = CONTEXT, 1
    await daemon.start()
    await reported(controller, "ready")
    assert hostname(daemon) == "worker-2\n"


async def test_kill_9_between_a_push_and_its_end(site: Site, daemon: Daemon) -> None:
    """The next start asks again, and comes to the newer context."""
    controller = await site.controller()
    await daemon.start()
    await reported(controller, "ready")
    controller.handout.user_data, controller.handout.sequence = b"#cloud-config\nhostname: worker-2\n", 2
    controller.push(site.vm)
    await controller.acknowledged.get()
    assert daemon.process is not None
    daemon.process.kill()
    await daemon.process.wait()
    await daemon.start()
    await reported(controller, "ready")
    while hostname(daemon) != "worker-2\n":
        await reported(controller, "ready")


async def test_a_push_for_a_dry_run_is_answered_with_the_plan(site: Site, daemon: Daemon) -> None:
    """In parts if need be, or with the reason why there is none; nothing is applied."""
    controller = await site.controller()
    await daemon.start()
    await reported(controller, "ready")
    text = "".join(f"line {number}\n" for number in range(3000))
    files = json.dumps({"write_files": [{"path": "/etc/long", "content": text}]})
    controller.handout.user_data = f"#cloud-config\n{files}\n".encode()
    controller.push(site.vm, dry_run=True)
    parts = [await controller.handout.plans.get()]
    while len(parts) < int(str(parts[0]["parts"])):
        parts.append(await controller.handout.plans.get())
    assert len(parts) > 1
    assert {part["digest"] for part in parts} == {hashlib.sha256(controller.handout.user_data).hexdigest()}
    plan = json.loads("".join(str(part["plan"]) for part in parts))
    assert "/etc/long" in {action["target"] for action in plan["actions"]}
    assert not (daemon.root / "etc/long").exists()
    controller.handout.digest = "0" * 64
    controller.push(site.vm, dry_run=True)
    refused = await controller.handout.plans.get()
    assert (refused["plan"], "another digest" in str(refused["reason"])) == ("", True)


async def test_the_key_of_a_controller_is_pinned(site: Site, daemon: Daemon) -> None:
    """When it first signs; over a restart, until an operator has it forgotten, who sees it in `status`."""
    controller = await site.controller()
    signer = controller.signer = Signer(load_or_make(daemon.folder / "signing.pem"), site.prosody.jid("jm"))
    await daemon.start()
    await reported(controller, "ready")
    assert await daemon.end() == 0
    pin = f"{site.prosody.jid('jm')}: {signer.public}, since "
    assert pin in (await daemon.command("status"))[1]
    controller.signer = None
    controller.handout.user_data, controller.handout.sequence = b"#cloud-config\nhostname: forged\n", 2
    await daemon.start()
    await controller.handout.asked.get()
    await reported(controller, "ready")
    assert hostname(daemon) == "worker-1\n"
    assert "is not signed" in daemon.log.read_text()
    refused = f"reason    an order of {site.prosody.jid('jm')} is refused: it is not signed (if"
    assert refused in (await daemon.command("status"))[1]
    code, _, errors = await daemon.command("forget-key", site.prosody.jid("mon"))
    assert (code, "no key of this account is pinned" in errors) == (2, True)
    assert (await daemon.command("forget-key", site.prosody.jid("jm")))[0] == 0
    assert pin not in (await daemon.command("status"))[1]
    while refused in (await daemon.command("status"))[1]:
        pass
    controller.push(site.vm)
    while hostname(daemon) != "forged\n":
        await reported(controller, "ready")


async def test_a_dry_run_from_the_controllers(site: Site, daemon: Daemon) -> None:
    """`--source xmpp` asks them without a daemon."""
    await site.controller()
    code, output, errors = await daemon.command("--dry-run", "--source", "xmpp", "--format", "json")
    assert (code, errors) == (0, "")
    assert json.loads(output)["source"] == f"xmpp {site.prosody.jid('jm')}"
    assert not (daemon.root / "etc/hostname").exists()
