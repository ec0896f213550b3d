"""The messages about contexts, read from whatever comes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ucvm_agent.copilot.context import PART_BYTES, Card, Offer, Part, plan, read, want
from ucvm_agent.copilot.stanza import Envelope, message_element, read_message

DIGEST = "0f" * 32
OFFER = {"command": "have_getContext", "request": "r", "sequence": "7", "digest": DIGEST}
PART = {**OFFER, "command": "context", "size": "5", "offset": "0", "userData": "aGVsbG8="}

texts = st.text(max_size=20) | st.sampled_from(["0", "1", "-1", "9" * 40, DIGEST, "aGVsbG8=", "context", "newContext"])


def message(info: dict[str, str]) -> Envelope:
    return read_message(message_element(Envelope(id="1", content={"info": info})))


def test_an_offer_and_a_part() -> None:
    """As a controller writes them; what we do not know is ignored."""
    offer = read(message({**OFFER, "later": "x"}))
    assert isinstance(offer, Offer)
    assert (offer.sequence, offer.digest, offer.rehearsal) == (7, DIGEST, False)
    part = read(message(PART))
    assert isinstance(part, Part)
    assert (part.user_data, part.size, part.offset) == (b"hello", 5, 0)
    pushed = read(message({**OFFER, "command": "newContext", "dryRun": "1"}))
    assert isinstance(pushed, Offer)
    assert pushed.rehearsal


@given(st.sampled_from([OFFER, PART]), st.dictionaries(st.sampled_from([*PART, "dryRun"]), texts))
def test_nothing_that_a_message_says_does_harm(whole: dict[str, str], changes: dict[str, str]) -> None:
    """It is within its bounds, or it is nothing."""
    told = read(message({**whole, **changes}))
    if told is not None:
        assert 1 <= told.sequence < 2**63
        assert len(told.digest) == 64


def test_user_data_stay_out_of_the_log() -> None:
    """They may hold secrets."""
    assert "hello" not in repr(read(message(PART)))


@given(st.text(max_size=40_000), st.text(max_size=20))
def test_a_plan_comes_in_parts(document: str, reason: str) -> None:
    """Which are numbered from 1, and one is sent even if there is no plan."""
    offer = Offer.model_validate(OFFER)
    infos = [content["info"] for content in plan(offer, document, reason)]
    parts = [info for info in infos if not isinstance(info, str)]
    assert "".join(str(part["plan"]) for part in parts) == document
    assert [part["part"] for part in parts] == [str(number + 1) for number in range(len(parts))]
    assert {part["parts"] for part in parts} == {str(len(parts))}


def test_a_message_is_smaller_than_servers_allow() -> None:
    """A part of the largest size, and a plan of the widest characters."""
    from base64 import b64encode
    from xml.etree.ElementTree import tostring

    largest = {**PART, "size": str(2**24), "offset": str(2**24), "userData": b64encode(bytes(PART_BYTES)).decode()}
    offer = Offer.model_validate(OFFER)
    contents = [{"info": largest}, *plan(offer, "\U0001f600" * 10_000, "")]
    for content in contents:
        assert len(tostring(message_element(Envelope(id="1" * 36, to="j" * 200, content=content)))) < 60_000


def test_a_machine_says_who_it_is() -> None:
    """With what its firmware says as a hash of its own."""
    envelope = Envelope(id="1", content=want(Card("m", "i", "h", {"product_uuid": "u"}), "r"))
    assert read_message(message_element(envelope)).info == {
        "command": "want_getContext",
        "request": "r",
        "machineID": "m",
        "instanceID": "i",
        "agentHost": "h",
        "facts": {"product_uuid": "u"},
    }
