"""Commands from the menu of a plain XMPP client, to the real daemon over the real Prosody."""

from __future__ import annotations

import pytest
from slixmpp import JID
from slixmpp.exceptions import IqError

from tests.operators.site import Site
from ucvm_agent import __version__

ALWAYS = {"status": "Show the status", "recontextualize": "Look for user-data anew and apply it"}


async def test_an_operator_discovers_the_machine_and_its_commands(site: Site) -> None:
    """It says what it is, which version, and what can be done with it: without jobs, little."""
    await site.start()
    boss = await site.person()
    info = await boss.plugin["xep_0030"].get_info(JID(boss.vm))
    (identity,) = info["disco_info"]["identities"]
    assert (identity[0], identity[1], identity[3].split()[0]) == ("client", "bot", "ucvm-agent")
    assert {"jabber:iq:version", "http://jabber.org/protocol/commands"} <= info["disco_info"]["features"]
    version = (await boss.plugin["xep_0092"].get_version(JID(boss.vm)))["software_version"]
    assert (version["name"], version["version"], version["os"][:5]) == ("ucvm-agent", __version__, "Linux")
    assert await boss.commands() == ALWAYS


async def test_status(site: Site) -> None:
    """What `ucvm-agent status` prints; and an event tells the controllers who has asked."""
    await site.start()
    answer = await (await site.person()).give("status")
    assert answer.status == "completed"
    assert answer.text.startswith("ready since ")
    assert f"xmpp:{site.prosody.jid('boss')}: told at" in answer.text
    assert (await site.controller.note()).message == f"operator {site.prosody.jid('boss')}: status"


async def test_recontextualization_shows_its_plan_first(site: Site) -> None:
    """Nothing changes before the operator goes on; what is applied is what was shown."""
    await site.start()
    hostname = site.daemon.root / "etc/hostname"
    boss = await site.person()
    site.user_data.write_text("#cloud-config\nhostname: worker-2\n")
    shown = await boss.give("recontextualize")
    assert shown.status == "executing"
    assert "-127.0.1.1 worker-1\n" in shown.text
    assert "+127.0.1.1 worker-2\n" in shown.text
    assert hostname.read_text() == "worker-1\n"
    site.user_data.write_text("#cloud-config\nhostname: worker-3\n")
    done = await boss.give("recontextualize", shown.session)
    assert (done.status, str(site.user_data) in done.text) == ("completed", True)
    await site.controller.state("ready", times=2)
    assert hostname.read_text() == "worker-2\n"


async def test_a_recontextualization_that_cannot_be(site: Site) -> None:
    """The operator is told why, and has nothing to agree to."""
    await site.start()
    boss = await site.person()
    site.user_data.unlink()
    refused = await boss.give("recontextualize")
    assert refused.status == "completed"
    assert [kind for kind, _ in refused.notes] == ["error"]
    assert str(site.user_data) in refused.notes[0][1]
    assert (await boss.give("recontextualize", refused.session)).notes == refused.notes
    assert await site.daemon.end() == 0
    assert "internal error" not in site.daemon.log.read_text()


async def test_a_stranger_is_refused(site: Site) -> None:
    """Neither the list nor a command, not even a step of what an operator has begun."""
    await site.start()
    boss, stranger = await site.person(), await site.person("stranger")
    shown = await boss.give("recontextualize")
    for ask in (stranger.commands(), stranger.give("status"), stranger.give("recontextualize", shown.session)):
        with pytest.raises(IqError) as caught:
            await ask
        assert caught.value.condition == "forbidden"
    assert (await boss.give("recontextualize", shown.session)).status == "completed"


async def test_named_operators(site: Site) -> None:
    """Where the settings name operators, controllers are none."""
    site.configure({"operators": {"jids": [site.prosody.jid("anna")]}})
    await site.start()
    anna, boss = await site.person("anna"), await site.person()
    assert (await anna.give("status")).status == "completed"
    with pytest.raises(IqError) as caught:
        await boss.give("status")
    assert caught.value.condition == "forbidden"


async def test_a_controller_that_has_to_sign_is_no_operator(site: Site) -> None:
    """No XMPP client signs, so its word over this way may be that of an untrusted server."""
    site.configure(signatures="required")
    await site.start()
    with pytest.raises(IqError) as caught:
        await (await site.person()).give("status")
    assert caught.value.condition == "forbidden"


async def test_no_operators(site: Site) -> None:
    """What is turned off is not there at all."""
    site.configure({"operators": {"enabled": False}})
    await site.start()
    with pytest.raises(IqError) as caught:
        await (await site.person()).give("status")
    assert caught.value.condition in ("feature-not-implemented", "service-unavailable")


async def test_commands_after_a_reconnection(site: Site) -> None:
    """The list is there again after the server was away."""
    await site.start()
    await site.prosody.kill()
    await site.prosody.start()
    boss = await site.person()
    await boss.sees_vm()
    assert await boss.commands() == ALWAYS
    assert (await boss.give("status")).status == "completed"


async def test_shutting_down(site: Site) -> None:
    """Only where the settings allow it is it there at all, and it asks first."""
    site.configure({"operators": {"allow_shutdown": True}})
    await site.start()
    boss = await site.person()
    assert "shutdown" in await boss.commands()
    asked = await boss.give("shutdown")
    assert (asked.status, asked.text) == ("executing", "The machine is shut down.")
    assert "Say “shutdown yes” to do it." in await boss.say("shutdown")
