"""Secure mode: both roles talk to each other through the wire's own encoding, and to no one else."""

from __future__ import annotations

from base64 import b64decode, encodebytes
from contextlib import suppress
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.copilot.conftest import Pair
from tests.copilot.openssl import openssl
from tests.copilot.test_cipher import AES, PASSPHRASE, SEALED
from tests.copilot.test_stanza import hashes, texts
from tests.copilot.tickets import issue
from ucvm_agent.copilot.cipher import encrypt
from ucvm_agent.copilot.public_keys import PublicKeys
from ucvm_agent.copilot.secure import MAX_PEERS, NO_TICKET, Consumer, Provider, seal, unseal
from ucvm_agent.copilot.stanza import Envelope, Hash, message_element, read_message
from ucvm_agent.copilot.tickets import Ticket
from ucvm_agent.errors import DeliveryDelayed, DeliveryRefused, MessageRefused, TicketRefused

AGENT, JM, KM = "agent@site.example/r1", "jm@site.example/alpha", "km@site.example"
WANT: dict[str, str | Hash] = {"command": "want_getJob", "jdl": "[\n]\n", "agentHost": "vm1"}
NOW = 1363000000


def sent(envelope: Envelope, sender: str = AGENT) -> Envelope:
    """Return what arrives of a message that was sent."""
    wire = ElementTree.tostring(message_element(envelope))
    return replace(read_message(ElementTree.fromstring(wire)), sender=sender)


def want(to: str = "jm@site.example", info: Hash = WANT) -> Envelope:
    return Envelope(id="1", to=to, content={"info": info})


@pytest.fixture
def consumer(public_keys: PublicKeys) -> Consumer:
    return Consumer(public_keys)


@pytest.fixture
def provider(manager: Pair) -> Provider:
    return Provider(manager.private)


def test_the_vector_of_the_reference() -> None:
    """As the original has sealed it."""
    assert unseal(SEALED, PASSPHRASE) == {"command": "haveStatus"}


def test_what_the_original_finds_in_it() -> None:
    """XML without namespaces, whose values are encoded, as base64 with line breaks, in AES, as base64 again."""
    sealed = seal({"command": "runJob", "job": {"id": "7"}}, PASSPHRASE, b"ABCDEFGH")
    assert max(map(len, sealed.splitlines())) == 76
    plain = openssl(*AES, "-d", data=b64decode(sealed))
    assert plain.endswith(b"\n")
    assert b64decode(plain) == b'<info command="_BASE64:cnVuSm9i"><job id="_BASE64:Nw==" /></info>'


def test_a_question_and_its_answer(consumer: Consumer, provider: Provider) -> None:
    """On the wire there are two attributes and no child; the answer comes from a full JID."""
    wrapped = consumer.wrap(want())
    assert set(wrapped.content) == {"session_key", "info"}
    assert all(isinstance(value, str) for value in wrapped.content.values())
    asked = provider.unwrap(sent(wrapped))
    assert asked.info == WANT
    run: Hash = {"command": "runJob", "job": {"id": "b0a1", "arguments": "-n µ"}}
    answered = provider.wrap(Envelope(id="2", to=AGENT, content={"info": run}))
    assert set(answered.content) == {"info"}
    assert consumer.unwrap(sent(answered, JM)).info == run


@given(st.dictionaries(st.sampled_from(["command", "job", "jdl"]), texts | hashes))
def test_any_message_survives(manager: Pair, public_keys: PublicKeys, info: dict[str, str]) -> None:
    """Whatever text it holds, both ways."""
    consumer, provider = Consumer(public_keys), Provider(manager.private)
    if info.get("command") == "security_error":
        return
    assert provider.unwrap(sent(consumer.wrap(want(info=info)))).content.get("info", {}) == info
    assert consumer.unwrap(sent(provider.wrap(want(AGENT, info)), JM)).content.get("info", {}) == info


def test_each_account_has_a_session_key_of_its_own(manager: Pair, key_manager: Pair, consumer: Consumer) -> None:
    """A manager cannot read what goes to another, nor answer for it."""
    first, second = Provider(manager.private), Provider(key_manager.private)
    first.unwrap(sent(consumer.wrap(want())))
    second.unwrap(sent(consumer.wrap(want(KM))))
    forged = first.wrap(Envelope(id="3", to=AGENT, content={"info": {"command": "runJob"}}))
    with pytest.raises(MessageRefused):
        consumer.unwrap(sent(forged, KM))
    with pytest.raises(MessageRefused):
        second.unwrap(sent(consumer.wrap(want())))


def test_what_is_never_encrypted_passes(consumer: Consumer, provider: Provider) -> None:
    """Acknowledgements and complaints; the original choked on the first."""
    ack = Envelope(to=JM, ack="1")
    complaint = Envelope(id="4", to=AGENT, content=provider.answer(MessageRefused("Could not decrypt the message")))
    for side in (consumer, provider):
        assert side.wrap(ack) == ack
        assert side.unwrap(replace(ack, sender=AGENT)).ack == "1"
    assert provider.wrap(complaint) == complaint
    assert consumer.unwrap(sent(complaint, JM)).info == {
        "command": "security_error",
        "errorString": "Could not decrypt the message",
    }


def test_clear_commands_are_refused(consumer: Consumer, provider: Provider) -> None:
    """Otherwise the mode would protect nothing."""
    for side in (consumer, provider):
        with pytest.raises(MessageRefused, match="Could not decrypt the message"):
            side.unwrap(sent(want(), JM))


def test_an_echo_is_dropped(consumer: Consumer, provider: Provider) -> None:
    """The original leads session keys through it."""
    info: Hash = {**WANT, "send_back": {"session_key": "x"}}
    assert provider.unwrap(sent(consumer.wrap(want(info=info)))).content == {"info": WANT}


content_of_body = st.dictionaries(
    st.sampled_from(["session_key", "info"]), st.text() | st.binary().map(lambda data: data.hex()) | hashes
)


@given(content_of_body)
def test_nothing_that_comes_does_harm(manager: Pair, public_keys: PublicKeys, content: dict[str, str]) -> None:
    """It is refused, and nobody learns why."""
    consumer, provider = Consumer(public_keys), Provider(manager.private)
    provider.unwrap(sent(consumer.wrap(want())))
    for side, sender in ((provider, AGENT), (consumer, JM)):
        with pytest.raises(MessageRefused) as caught:
            side.unwrap(Envelope(id="5", sender=sender, content=content))
        assert caught.value.message == "Could not decrypt the message"


@given(st.integers(0), st.sampled_from(["session_key", "info"]), st.characters())
def test_damage_is_refused(manager: Pair, public_keys: PublicKeys, place: int, part: str, character: str) -> None:
    """Any of its characters; AES alone may let a change pass, but then only as another text."""
    wrapped = Consumer(public_keys).wrap(want())
    text = str(wrapped.content[part])
    place %= len(text)
    damaged = text[:place] + character + text[place + 1 :]
    with suppress(MessageRefused):
        Provider(manager.private).unwrap(Envelope(id="1", sender=AGENT, content={**wrapped.content, part: damaged}))


def test_hostile_xml_is_refused() -> None:
    """Whoever has the session key could seal it."""
    bomb = '<!DOCTYPE info [<!ENTITY a "aaaa">]><info command="&a;"/>'
    for text in (bomb, "<info", "<other/>", '<?xml version="1.0" encoding="ebcdic"?><info><a></info>', "\xff\x00"):
        plain = encodebytes(text.encode("latin-1"))
        with pytest.raises(ValueError, match=r"not XML|not a message|codec"):
            unseal(encodebytes(encrypt(plain, PASSPHRASE, b"ABCDEFGH")).decode(), PASSPHRASE)


def test_no_key_no_message(consumer: Consumer, provider: Provider) -> None:
    """The one that sends learns what is missing."""
    with pytest.raises(DeliveryRefused, match="no public key of sm@"):
        consumer.wrap(want("sm@site.example"))
    with pytest.raises(DeliveryRefused, match="no session key"):
        provider.wrap(want(AGENT))


def test_a_provider_remembers_so_many_peers(manager: Pair, consumer: Consumer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that was silent longest is forgotten."""
    assert MAX_PEERS > 1000
    monkeypatch.setattr("ucvm_agent.copilot.secure.MAX_PEERS", 2)
    provider = Provider(manager.private)
    wrapped = consumer.wrap(want())
    for peer in ("a@b", "c@d", "a@b", "e@f"):
        provider.unwrap(sent(wrapped, peer))
    provider.wrap(want("a@b"))
    with pytest.raises(DeliveryRefused):
        provider.wrap(want("c@d"))


def test_the_whole_conversation_with_a_key_manager(manager: Pair, key_manager: Pair, public_keys: PublicKeys) -> None:
    """Nothing but the question for a ticket goes out before there is one; then it opens the doors, for a time."""
    now = [float(NOW)]
    consumer = Consumer(public_keys, KM)
    tickets, jobs = Provider(key_manager.private), Provider(manager.private, key_manager.public, clock=lambda: now[0])
    with pytest.raises(DeliveryDelayed, match="not given a ticket"):
        consumer.wrap(want())
    get: Hash = {"command": "getTicket", "credential": "site-credential"}
    with pytest.raises(DeliveryDelayed):
        consumer.wrap(want(info=get))
    assert consumer.needs_ticket(NOW)
    asked = tickets.unwrap(sent(consumer.wrap(want(KM, get))))
    assert asked.info == get
    ticket = issue(Ticket("*", NOW, NOW + 60, "agent@site.example"), key_manager.private)
    store: Hash = {"command": "storeTicket", "ticket": ticket}
    given_out = consumer.unwrap(sent(tickets.wrap(want(AGENT, store)), f"{KM}/k"))
    with pytest.raises(TicketRefused, match="not from the key manager"):
        consumer.take_ticket(replace(given_out, sender=JM))
    consumer.take_ticket(given_out)
    assert not consumer.needs_ticket(NOW)
    assert jobs.unwrap(sent(consumer.wrap(want()))).info == WANT
    now[0] += 61
    assert consumer.needs_ticket(now[0])
    with pytest.raises(TicketRefused, match="expired") as caught:
        jobs.unwrap(sent(consumer.wrap(want())))
    told = consumer.unwrap(sent(jobs.wrap(Envelope(id="6", to=AGENT, content=jobs.answer(caught.value))), JM))
    assert told.info == {"command": "error", "errorString": "The ticket has expired"}


def test_without_a_key_manager_a_text_stands_for_the_ticket(
    consumer: Consumer, manager: Pair, key_manager: Pair
) -> None:
    """A provider that wants tickets does not take it for one."""
    wrapped = sent(consumer.wrap(want()))
    info = unseal(str(wrapped.content["info"]), next(iter(consumer._session_keys.values())))
    assert info["componentAuthenticationTicket"] == NO_TICKET
    with pytest.raises(TicketRefused, match="signature"):
        Provider(manager.private, key_manager.public).unwrap(wrapped)
    assert not consumer.needs_ticket(NOW)
