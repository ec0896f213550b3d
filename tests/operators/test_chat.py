"""A person types words to the real daemon, over the real Prosody."""

from __future__ import annotations

import asyncio

import pytest
from slixmpp import JID

from tests.operators.site import Site


@pytest.mark.parametrize("kind", ["chat", "normal"])
async def test_help(site: Site, kind: str) -> None:
    """Whoever types it, or anything that is no command, learns what there is."""
    await site.start()
    boss = await site.person()
    answer = await boss.say("help", kind)
    assert answer.startswith("I understand:\nstatus ")
    assert "recontextualize" in answer
    assert "shutdown" not in answer
    assert await boss.say("good morning, 10° 🌧", kind) == answer


async def test_status(site: Site) -> None:
    """In whatever case it is typed."""
    await site.start()
    assert (await (await site.person()).say("  Status ")).startswith("ready since ")
    assert "operator boss@site.example: status" in (await site.controller.note()).message


async def test_recontextualization(site: Site) -> None:
    """First comes the plan, and then a yes; a yes to nothing is refused."""
    await site.start()
    boss = await site.person()
    assert "look at the plan first" in await boss.say("recontextualize yes")
    site.user_data.write_text("#cloud-config\nhostname: worker-2\n")
    shown = await boss.say("recontextualize")
    assert "+127.0.1.1 worker-2" in shown
    assert shown.endswith("Say “recontextualize yes” to do it.")
    assert (site.daemon.root / "etc/hostname").read_text() == "worker-1\n"
    assert "is applied" in await boss.say("recontextualize yes")
    await site.controller.state("ready", times=2)
    assert (site.daemon.root / "etc/hostname").read_text() == "worker-2\n"
    assert "look at the plan first" in await boss.say("recontextualize yes")


async def test_a_stranger_gets_no_answer(site: Site) -> None:
    """Nor fills the log: an operator is answered all the same."""
    await site.start()
    stranger, boss = await site.person("stranger"), await site.person()
    for _ in range(40):
        stranger.tell("help")
    assert (await boss.say("help")).startswith("I understand")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await stranger.hears()
    assert 1 <= site.daemon.log.read_text().count("no operator is not answered") <= 5


async def test_what_was_said_while_the_machine_was_away(site: Site) -> None:
    """The server keeps it; an hour later it counts no more."""
    boss = await site.person()
    old = boss.make_message(JID(boss.vm.partition("/")[0]), "recontextualize", mtype="chat")
    boss.register_plugin("xep_0203")
    old["delay"]["stamp"] = "2020-01-01T00:00:00Z"
    old.send()
    await site.start()
    assert (await boss.say("help")).startswith("I understand")
    assert "came too late" in site.daemon.log.read_text()
