"""Any text can be sent to a person: as well-formed XML, and not too large."""

from __future__ import annotations

from xml.etree.ElementTree import Element, fromstring, tostring

from hypothesis import given
from hypothesis import strategies as st

from ucvm_agent.operators.text import MAX_BYTES, MAX_LINE, sendable


@given(st.binary(max_size=3000).map(lambda data: data.decode("utf-8", "replace")) | st.text(), st.booleans())
def test_a_parser_takes_it(text: str, keep_end: bool) -> None:
    """Whatever bytes a job has written."""
    element = Element("body")
    element.text = sendable(text, keep_end=keep_end)
    assert (fromstring(tostring(element)).text or "") == element.text


@given(st.text(st.sampled_from('<&"\n\x00é🌧a'), min_size=100), st.integers(1, 400), st.booleans())
def test_it_fits_into_a_message(text: str, times: int, keep_end: bool) -> None:
    """As one body, or with an element for each line."""
    sent = sendable(text * times, keep_end=keep_end)
    element = Element("form")
    for line in sent.split("\n"):
        value = Element("value")
        value.text = line
        element.append(value)
    assert len(tostring(element, "unicode").encode()) < MAX_BYTES + 200


def test_of_what_is_too_long_one_end_is_left_out() -> None:
    """And the reader is told how much that is."""
    text = "\n".join(f"line {number}" for number in range(5000))
    begin, end = sendable(text), sendable(text, keep_end=True)
    assert begin.startswith("line 0\nline 1\n")
    assert begin.splitlines()[-1].endswith(" more lines)")
    assert end.endswith("line 4998\nline 4999")
    assert end.splitlines()[0].endswith(" more lines)")
    assert sendable("x" * 3 * MAX_LINE) == "x" * MAX_LINE + "…"


def test_what_is_meant_for_a_terminal_is_left_out() -> None:
    """A chat has no colours."""
    assert sendable("\x1b[1;31mred\x1b[0m\tand\r\nplain\x07") == "red\tand\nplain\ufffd"
