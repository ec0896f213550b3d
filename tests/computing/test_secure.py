"""The original's secure mode between our agent and our controller, with a key manager (section 6 of the reference)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests.computing.infrastructure import Infrastructure
from tests.computing.test_trouble import noted
from tests.controller.peer import account
from tests.controller.test_our_agent import becomes
from tests.copilot.tickets import issue
from tests.servers.prosody import Prosody
from ucvm_agent.controller.model import JobStatus
from ucvm_agent.copilot.messages import GetTicket, StoreTicket
from ucvm_agent.copilot.post import Post
from ucvm_agent.copilot.secure import Provider
from ucvm_agent.copilot.stanza import Envelope, bare
from ucvm_agent.copilot.tickets import Ticket
from ucvm_agent.settings import Xmpp
from ucvm_agent.xmpp.client import Connection


@pytest.fixture
async def site() -> AsyncIterator[Infrastructure]:
    """A site of one agent, not in secure mode yet."""
    async with Infrastructure.open(agents=1) as site:
        yield site


@asynccontextmanager
async def key_manager(prosody: Prosody, key: RSAPrivateKey) -> AsyncIterator[None]:
    """Give tickets to who shows the credential."""
    connection = Connection(Xmpp.model_validate(account(prosody, "km")), "km")
    post = Post(connection, accepts=lambda _: True, secure=Provider(key))

    def give(sender: str, message: GetTicket, _: Envelope) -> None:
        if message.credential == "credential":
            now = int(time.time())
            post.send(sender, StoreTicket(ticket=issue(Ticket("*", now - 60, now + 3600, bare(sender)), key)))

    post.on(GetTicket, give)
    task = asyncio.create_task(connection.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def make_secure(site: Infrastructure) -> RSAPrivateKey:
    """Make the keys, and have all ends use them; return the key manager's."""
    keys = {name: generate_private_key(65537, 2048) for name in ("jm", "km")}
    folder = site.folder
    lines = [
        f"{site.prosody.jid(name)}\n{key.public_key().public_bytes(Encoding.PEM, PublicFormat.PKCS1).decode()}"
        for name, key in keys.items()
    ]
    public, private = folder / "public-keys", folder / "jm.pem"
    public.write_text("".join(lines))
    private.write_bytes(keys["jm"].private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
    manager = site.prosody.jid("km")
    site.secure = (
        {"public_keys_file": str(public), "key_manager": manager, "credential": "credential"},
        {"public_keys_file": str(public), "key_manager": manager, "private_key_file": str(private)},
    )
    site.configure("vm1")
    return keys["km"]


async def test_a_whole_job_in_secure_mode(site: Infrastructure) -> None:
    """The agent gets a ticket, then the job; nothing of it can be read on the way."""
    key = make_secure(site)
    async with key_manager(site.prosody, key), site.run_controller() as controller:
        await site.submit(controller.ledger, "job-in-secret", "echo hello")
        await site.agents[0].start()
        job = await becomes(controller, "job-in-secret", JobStatus.DONE)
        assert job.tries == 1
        assert await site.agents[0].end() == 0
    assert site.output("job-in-secret") == "hello\n"


async def test_without_a_ticket_there_is_no_job(site: Infrastructure) -> None:
    """The agent is told why, and an operator learns of it."""
    key = make_secure(site)
    site.secure = ({**site.secure[0], "key_manager": ""}, site.secure[1])
    site.configure("vm1")
    async with key_manager(site.prosody, key), site.run_controller() as controller:
        await site.submit(controller.ledger, "j", "echo hello")
        await site.agents[0].start()
        await noted(controller, "reports an error: The signature of the ticket is not valid")
        assert await controller.ledger.waiting() == 1
