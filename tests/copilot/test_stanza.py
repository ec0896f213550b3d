"""The Co-Pilot envelope against captured traffic of the original, and against anything at all."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ucvm_agent.copilot.stanza import (
    MAX_DEPTH,
    Envelope,
    body_element,
    decode_value,
    encode_value,
    message_element,
    read_element,
    read_message,
)

DATA = Path(__file__).parent.parent / "data" / "copilot"
CAPTURED = [json.loads(line) for line in (DATA / "wire.jsonl").read_text().splitlines()]
DECODED = [json.loads(line) for line in (DATA / "wire.decoded.jsonl").read_text().splitlines()]

names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,8}", fullmatch=True).filter(lambda name: name[:3].lower() != "xml")
texts = st.text(st.characters(exclude_categories=["Cs"]))
hashes = st.recursive(
    st.dictionaries(names, texts, max_size=4),
    lambda inner: st.dictionaries(names, st.one_of(texts, inner), max_size=4),
    max_leaves=12,
)


def parse(stanza: str) -> ElementTree.Element:
    """Parse a stanza as it stands within a stream."""
    return ElementTree.fromstring(stanza.replace("<message", "<message xmlns='jabber:client'", 1))


@pytest.mark.parametrize(("line", "expected"), list(zip(CAPTURED, DECODED, strict=True)))
def test_captured_traffic_is_understood(line: dict[str, str], expected: dict[str, object]) -> None:
    """Every message of the original, resent and damaged ones as well, decodes to what it meant."""
    assert asdict(read_message(parse(line["stanza"]))) == {key: expected[key] for key in expected if key != "n"}


@pytest.mark.parametrize("line", CAPTURED)
def test_what_was_understood_can_be_said_again(line: dict[str, str]) -> None:
    """Encoding a captured message anew keeps its meaning."""
    envelope = read_message(parse(line["stanza"]))
    assert read_message(parse(ElementTree.tostring(message_element(envelope), "unicode"))) == envelope


@given(hashes)
def test_a_hash_survives_the_wire(content: dict[str, str]) -> None:
    """Any text in any nesting comes back as it was, through a real parser."""
    wire = ElementTree.tostring(body_element(content))
    assert read_element(ElementTree.fromstring(wire)) == content


@given(st.text(), st.sampled_from(["", "_BASE64", "_BASE64:", "__BASE64:"]))
def test_no_value_makes_the_decoder_fail(text: str, prefix: str) -> None:
    """Damaged base64 is read as far as it goes; text without the prefix stays as it is."""
    decoded = decode_value(prefix + text)
    assert isinstance(decoded, str)
    if not prefix and not text.startswith("_"):
        assert decoded == text


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("_BASE64:", ""),
        ("_BASE64:Z2V0 Sm9i ", "getJob"),
        ("_BASE64:Z2V0\nSm9i\n", "getJob"),
        ("__BASE64:MQ==", "1"),
        ("_BASE64MQ", "1"),
        ("_BASE64::MQ==", "1"),
        ("_BASE64:/w==", "\ufffd"),
        ("getJob", "getJob"),
    ],
)
def test_values_of_the_original_are_accepted(written: str, meant: str) -> None:
    """Line breaks, misprinted prefixes, missing padding and plain values all occur."""
    assert decode_value(written) == meant


def test_an_empty_value_is_only_the_prefix() -> None:
    """The original writes it so."""
    assert encode_value("") == "_BASE64:"


def test_an_acknowledgement_has_no_body_and_no_id() -> None:
    """An id would make the original acknowledge the acknowledgement."""
    message = message_element(Envelope(to="jm@site.example/a", ack="1a58119b"))
    assert message.attrib == {"to": "jm@site.example/a", "ack": "1a58119b"}
    assert len(message) == 0


def test_a_key_that_is_no_name_is_a_mistake_of_ours() -> None:
    """It would otherwise become malformed XML and end the stream."""
    with pytest.raises(ValueError, match="not a name"):
        body_element({"a b": "1"})


def test_depth_is_bounded() -> None:
    """A deeply nested message is read to the bound and no further."""
    read: object = read_element(ElementTree.fromstring("<a>" * 5000 + "</a>" * 5000))
    depth = 0
    while isinstance(read, dict) and read:
        read, depth = read["a"], depth + 1
    assert depth == MAX_DEPTH
