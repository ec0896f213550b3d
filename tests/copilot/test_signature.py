"""Signed messages: nothing that was changed, said before, or meant for another is obeyed."""

from __future__ import annotations

import json
import math
from base64 import b64decode
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from tests.copilot.openssl import openssl
from tests.copilot.test_stanza import DATA, hashes
from ucvm_agent.assignment.visit import Known
from ucvm_agent.copilot.memory import Memory
from ucvm_agent.copilot.signature import (
    KEPT_SECONDS,
    SIGNATURE,
    WINDOW_SECONDS,
    Signer,
    Trust,
    Verifier,
    signed_bytes,
)
from ucvm_agent.copilot.stanza import Envelope, Hash, message_element
from ucvm_agent.errors import MessageRefused, StoreError
from ucvm_agent.settings import Xmpp
from ucvm_agent.store.store import Store

JM, VM = "jm@site.example", "agent@site.example/ucvm-9c2e"
KEY, OTHER_KEY = (Ed25519PrivateKey.from_private_bytes(bytes([number] * 32)) for number in (1, 2))
ORDER: Hash = {"info": {"command": "newContext", "sequence": "7", "facts": {"a": "1", "b": ""}}}
NOW = 1363000000.0
GOLDEN = json.loads((DATA / "signature.json").read_text())


@dataclass
class Clocks:
    """What three clocks show, in seconds."""

    signer: float = NOW
    machine: float = NOW
    monotonic: float = 100.0

    def pass_by(self, seconds: float) -> None:
        """Let time pass, for all of them."""
        self.signer += seconds
        self.machine += seconds
        self.monotonic += seconds


@dataclass
class Ends:
    """A controller that signs, and a VM; messages arrive as a server hands them on."""

    clocks: Clocks = field(default_factory=Clocks)
    memory: Memory = field(default_factory=Known)
    key: Ed25519PrivateKey = KEY
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.verifier = self.restarted()

    def restarted(self) -> Verifier:
        """Return the VM's half after a restart of the daemon."""
        settings = Xmpp.model_validate(self.settings)
        self.verifier = Verifier(
            settings, VM, self.memory, clock=lambda: self.clocks.machine, monotonic=lambda: self.clocks.monotonic
        )
        return self.verifier

    def order(self, number: int = 1, *, to: str = VM, content: Hash = ORDER, signed: bool = True) -> str:
        """Return a message of the controller, as text."""
        message = message_element(Envelope(id=f"id-{number}", to=to, content=content))
        if signed:
            Signer(self.key, f"{JM}/alpha", clock=lambda: self.clocks.signer).sign(message)
        return ElementTree.tostring(message, "unicode")

    def arrive(self, text: str, sender: str = f"{JM}/alpha") -> Trust:
        """Hand a message on; the server says from whom it is."""
        return self.verifier.check(arrived(text, sender))


def arrived(text: str, sender: str = f"{JM}/alpha") -> Element:
    message = ElementTree.fromstring(text)
    message.set("from", sender)
    return message


@pytest.fixture
def ends() -> Ends:
    return Ends()


def test_the_golden_vector(tmp_path: Path) -> None:
    """To the byte, for those who write the other end; and the `openssl` program says the same."""
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(GOLDEN["seed"]))
    message = ElementTree.fromstring(GOLDEN["message"])
    signature = message.find(SIGNATURE)
    assert signature is not None
    signed = signed_bytes(message, JM, signature.get("time", ""))
    assert signed.decode() == GOLDEN["signed"]
    text, when = signature.text, signature.get("time")
    Signer(key, JM, clock=lambda: NOW + 0.25).sign(message)
    again = message.find(SIGNATURE)
    assert again is not None
    assert (again.text, again.get("time"), again.get("key")) == (text, when, signature.get("key"))
    public, value, data = tmp_path / "public.pem", tmp_path / "signature", tmp_path / "signed"
    # The prefix of a public key of Ed25519 in DER (RFC 8410).
    der = bytes.fromhex("302a300506032b6570032100") + b64decode(signature.get("key", ""))
    public.write_bytes(openssl("pkey", "-pubin", "-inform", "DER", data=der))
    value.write_bytes(b64decode(text or ""))
    data.write_bytes(signed)
    openssl("pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", public, "-sigfile", value, "-in", data)
    verifier = Verifier(Xmpp(), VM, Known(), clock=lambda: NOW)
    assert verifier.check(arrived(GOLDEN["message"])) is Trust.SIGNED


@given(hashes)
def test_whatever_is_signed_holds_on_the_wire(content: dict[str, str]) -> None:
    """Any text in any nesting."""
    ends = Ends()
    assert ends.arrive(ends.order(content=content)) is Trust.SIGNED


@given(st.integers(min_value=0), st.characters(codec="ascii"))
def test_no_change_goes_unnoticed(place: int, character: str) -> None:
    """Of any byte of a message: it is refused or no XML, or it says the same as before."""
    ends = Ends(settings={"controller_keys": Signer(KEY, JM).public})
    text = ends.order()
    place %= len(text)
    changed = text[:place] + character + text[place + 1 :]
    try:
        message = arrived(changed)
        trust = ends.verifier.check(message)
    except (ElementTree.ParseError, MessageRefused):
        return
    assert trust is Trust.SIGNED
    assert signed_bytes(message, JM, "") == signed_bytes(arrived(text), JM, "")


@given(st.dictionaries(st.sampled_from(["key", "time", "more"]), st.text("AQ=+/09:.-TZµ")), st.text("AQ=/µ \n"))
def test_no_signature_does_harm(attributes: dict[str, str], text: str) -> None:
    """It is refused, and nothing else is ever raised."""
    message = arrived(Ends().order(signed=False))
    ElementTree.SubElement(message, SIGNATURE, attributes).text = text
    with pytest.raises(MessageRefused):
        Ends().verifier.check(message)


def test_an_order_for_another(ends: Ends) -> None:
    """Another VM, also one of the same account, or from another account, or without an id."""
    assert ends.arrive(ends.order(1, to="agent@site.example")) is Trust.SIGNED
    for to in ("agent@site.example/other", "vm2@site.example"):
        with pytest.raises(MessageRefused, match="it is signed for"):
            ends.arrive(ends.order(2, to=to))
    with pytest.raises(MessageRefused, match="not valid"):
        ends.arrive(ends.order(3), sender="mon@site.example")
    with pytest.raises(MessageRefused, match="not valid"):
        ends.arrive(ends.order(4).replace('id="id-4"', ""))


# Whose key it is


def test_the_first_key_is_pinned(ends: Ends) -> None:
    """Until then unsigned messages count; from then on neither they nor another key do."""
    assert ends.arrive(ends.order(1, signed=False)) is Trust.UNSIGNED
    assert ends.arrive(ends.order(2)) is Trust.SIGNED
    with pytest.raises(MessageRefused, match="not signed"):
        ends.arrive(ends.order(3, signed=False))
    ends.key = OTHER_KEY
    with pytest.raises(MessageRefused, match="by another key"):
        ends.arrive(ends.order(4))
    assert ends.arrive(ends.order(5, signed=False), sender="mon@site.example") is Trust.UNSIGNED


def test_keys_of_the_settings() -> None:
    """Only they count, and nothing is pinned."""
    memory = Known()
    ends = Ends(memory=memory, settings={"controller_keys": Signer(OTHER_KEY, JM).public})
    for text in (ends.order(1), ends.order(2, signed=False)):
        with pytest.raises(MessageRefused, match="signed"):
            ends.arrive(text)
    ends.key = OTHER_KEY
    assert ends.arrive(ends.order(3)) is Trust.SIGNED
    assert memory.keys == {}


def test_signatures_required() -> None:
    """The first key is pinned, but nothing counts before."""
    ends = Ends(settings={"signatures": "required"})
    with pytest.raises(MessageRefused, match="not signed"):
        ends.arrive(ends.order(1, signed=False))
    assert ends.arrive(ends.order(2)) is Trust.SIGNED


def test_signatures_off() -> None:
    """Not even a wrong one is looked at."""
    ends = Ends(settings={"signatures": "off"})
    assert ends.arrive(ends.order(), sender="mon@site.example") is Trust.UNSIGNED


def test_no_key_is_pinned_over_a_stream_that_is_not_verified() -> None:
    """Anybody on the way could be the first."""
    memory = Known()
    ends = Ends(memory=memory, settings={"verify": False})
    assert ends.arrive(ends.order()) is Trust.UNSIGNED
    assert memory.keys == {}
    ends = Ends(settings={"verify": False, "signatures": "required"})
    with pytest.raises(MessageRefused, match=r"no key is known.*xmpp\.controller_keys"):
        ends.arrive(ends.order())


@pytest.mark.parametrize("key", ["", "AAAA", "µ", Signer(KEY, JM).public[:-1]])
def test_a_key_that_is_none(key: str) -> None:
    """The settings say so at the start."""
    with pytest.raises(ValueError, match="is not the base64 of a public key"):
        Xmpp.model_validate({"controller_keys": [key]})


# Once, and in time


def test_an_order_counts_once(ends: Ends) -> None:
    """Repeated it is acknowledged only; all who see the same stanza hear the same."""
    message = arrived(ends.order())
    assert [ends.verifier.check(message) for _ in range(2)] == [Trust.SIGNED] * 2
    assert ends.arrive(ends.order()) is Trust.REPEATED
    ends.clocks.pass_by(3600)
    assert ends.arrive(ends.order()) is Trust.REPEATED


@pytest.mark.parametrize("days", [0, 0.5, 1.5, 400])
@pytest.mark.parametrize("clock", [0.0, NOW, NOW - 3 * 86400, NOW * 2])
def test_no_order_is_obeyed_again(tmp_path: Path, days: float, clock: float) -> None:
    """After other orders or none, over a restart, whatever the machine's clock says."""
    memory = Store(tmp_path / "state.db", "boot").pins
    for later in (0, 1):
        ends = Ends(memory=memory, clocks=Clocks(machine=clock))
        old = ends.order(10 * later)
        assert ends.arrive(old) is Trust.SIGNED
        ends.clocks.pass_by(days * 86400)
        for number in range(later):
            assert ends.arrive(ends.order(10 + number + 1)) is Trust.SIGNED
        for verifier in (ends.verifier, ends.restarted()):
            ends.clocks.machine = clock
            try:
                assert verifier.check(arrived(old)) is Trust.REPEATED
            except MessageRefused:
                assert days
        memory.forget(JM)


def test_a_machine_whose_clock_is_wrong_obeys() -> None:
    """Whatever it believes at boot: the signer tells it the time."""
    for wrong in (0.0, NOW - 86400, NOW + 86400 * 3650):
        ends = Ends(clocks=Clocks(machine=wrong))
        for number in range(3):
            assert ends.arrive(ends.order(number)) is Trust.SIGNED
            ends.clocks.pass_by(3600)


def test_an_order_that_was_kept_back(ends: Ends) -> None:
    """It is late by both clocks; in time it would have counted, even after a later one."""
    ends.arrive(ends.order(1))
    kept_back, overtaken = ends.order(2), ends.order(3)
    ends.clocks.pass_by(WINDOW_SECONDS - 1)
    ends.arrive(ends.order(4))
    assert ends.arrive(overtaken) is Trust.SIGNED
    ends.clocks.pass_by(2)
    with pytest.raises(MessageRefused, match=r"signed 301 s ago.*forget-key"):
        ends.arrive(kept_back)


def test_what_only_a_person_can_mend_is_told_until_an_order_counts(ends: Ends) -> None:
    """Another key, a missing signature, a clock that went back; not what a server has held back, or what is spoilt."""
    refusals, told = ends.verifier.refusals, list[str]()
    refusals.changed = lambda: told.append(refusals.reason)
    ends.arrive(ends.order(1))
    other = Ends(key=OTHER_KEY)
    for text in (other.order(2), other.order(3), ends.order(4, signed=False)):
        with pytest.raises(MessageRefused, match="forget-key"):
            ends.arrive(text)
    ends.arrive(ends.order(5))
    with pytest.raises(MessageRefused, match="not valid"):
        ends.arrive(ends.order(6).replace("id-6", "id-7"))
    kept_back = arrived(ends.order(8))
    ElementTree.SubElement(kept_back, "{urn:xmpp:delay}delay", {"stamp": "2013-03-11T11:06:40Z"})
    ends.clocks.pass_by(WINDOW_SECONDS + 1)
    ends.arrive(ends.order(9))
    with pytest.raises(MessageRefused, match="301 s ago"):
        ends.verifier.check(kept_back)
    mend = f"(if the controller has changed its key or its clock: ucvm-agent forget-key {JM})"
    refused = f"an order of {JM} is refused: it is"
    another = f"{refused} signed by another key, {Signer(OTHER_KEY, JM).public} {mend}"
    assert told == [another, f"{refused} not signed {mend}", ""]


def test_a_refusal_is_not_told_any_more_when_the_key_is_forgotten(tmp_path: Path) -> None:
    """By another process, and although no order comes; or what was signed by a clock that was put back."""
    store = Store(tmp_path / "state.db", "boot")
    ends = Ends(memory=store.pins)
    ends.arrive(ends.order(1))
    ends.clocks.signer -= 2 * KEPT_SECONDS
    with pytest.raises(MessageRefused):
        ends.arrive(ends.order(2))
    refusals = ends.verifier.refusals
    refusals.look()
    assert f"ucvm-agent forget-key {JM}" in refusals.reason
    store.pins.forget(JM)
    refusals.look()
    assert refusals.reason == ""


def test_a_refusal_stands_while_the_state_cannot_be_read() -> None:
    """A disk that fails for a moment does not end whoever looks."""

    class Unreadable(Known):
        failing = False

        def key(self, account: str) -> str:
            if self.failing:
                raise StoreError("the state cannot be read")
            return super().key(account)

    memory = Unreadable()
    ends = Ends(memory=memory)
    ends.arrive(ends.order(1))
    with pytest.raises(MessageRefused):
        ends.arrive(ends.order(2, signed=False))
    memory.failing = True
    ends.verifier.refusals.look()
    assert "is refused: it is not signed" in ends.verifier.refusals.reason


def test_a_signer_who_has_put_his_clock_back(ends: Ends) -> None:
    """It is obeyed by who has the right time, unless by more than a day; then an operator has to help."""
    ends.clocks.signer += KEPT_SECONDS - 1
    ends.arrive(ends.order(1))
    ends.clocks.signer = NOW
    assert ends.arrive(ends.order(2)) is Trust.SIGNED
    ends.clocks.signer += KEPT_SECONDS
    ends.arrive(ends.order(3))
    ends.clocks.signer = NOW - 1
    with pytest.raises(MessageRefused, match="forget-key"):
        ends.arrive(ends.order(4))


def test_a_memory_that_fails_lets_nothing_pass() -> None:
    """An order that cannot be remembered could be obeyed twice."""

    class Full(Known):
        def remember(self, account: str, message_id: str, time: float, kept: float) -> None:
            raise StoreError("no space left for the state")

    with pytest.raises(MessageRefused, match="no space left"):
        Ends(memory=Full()).arrive(Ends().order())


def test_a_message_that_is_not_complete_cannot_be_signed() -> None:
    """It would be refused."""
    with pytest.raises(ValueError, match="without id or receiver"):
        Signer(KEY, JM).sign(message_element(Envelope(to=VM, content=ORDER)))


def test_nothing_is_newer_than_the_first() -> None:
    """A memory begins empty."""
    assert Known().newest(JM) == -math.inf


def test_an_order_counts_again_until_it_is_remembered() -> None:
    """Whoever obeys late is killed before the order is written down: it comes again, and is no repetition."""
    ends = Ends()
    text = ends.order()
    assert ends.verifier.check(arrived(text), remember=False) is Trust.SIGNED
    assert ends.restarted().check(arrived(text), remember=False) is Trust.SIGNED
    ends.verifier.remember(JM, "id-1")
    assert ends.restarted().check(arrived(text), remember=False) is Trust.REPEATED
