"""Tickets: signed, shown and refused; and against the `openssl` program in both directions."""

from __future__ import annotations

from base64 import b64decode, encodebytes
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.copilot.conftest import Pair
from tests.copilot.openssl import openssl
from tests.copilot.tickets import issue
from ucvm_agent.copilot.stanza import decode_base64
from ucvm_agent.copilot.tickets import Ticket, read_ticket
from ucvm_agent.errors import TicketRefused

TICKET = Ticket("*", 1363000000, 1363086400, "agent@xmpp.example.org")
NOW = 1363000001.0


def test_a_ticket_against_openssl(key_manager: Pair, tmp_path: Path) -> None:
    """It verifies ours, and we read one that it has signed: the text of the reference's example."""
    signature, _, data = issue(TICKET, key_manager.private).partition("###")
    signed = tmp_path / "signature"
    signed.write_bytes(decode_base64(signature))
    openssl("dgst", "-sha1", "-prverify", key_manager.private_file, "-signature", signed, data=data.encode())
    text = b"KiMjIzEzNjMwMDAwMDAjIyMxMzYzMDg2NDAwIyMjYWdlbnRAeG1wcC5leGFtcGxlLm9yZw=="
    assert b64decode(text).decode() == "*###1363000000###1363086400###agent@xmpp.example.org"
    theirs = encodebytes(openssl("dgst", "-sha1", "-sign", key_manager.private_file, data=text))
    assert read_ticket(f"{theirs.decode()}###{text.decode()}", key_manager.public) == TICKET


@pytest.mark.parametrize(
    ("ticket", "sender", "now", "reason"),
    [
        (replace(TICKET, component="jm@xmpp.example.org"), "agent@xmpp.example.org/r", NOW, "not valid for this"),
        (TICKET, "agent@xmpp.example.org/r", NOW - 10, "not yet valid"),
        (TICKET, "agent@xmpp.example.org/r", NOW + 86400, "expired"),
        (TICKET, "thief@xmpp.example.org/r", NOW, "another requester"),
    ],
)
def test_a_ticket_that_is_not_good(ticket: Ticket, sender: str, now: float, reason: str) -> None:
    """The sender learns why."""
    TICKET.check("agent@xmpp.example.org/r", NOW)
    with pytest.raises(TicketRefused, match=reason):
        ticket.check(sender, now)


@given(st.text(), st.integers(0, 400))
def test_no_change_of_a_ticket_goes_unnoticed(key_manager: Pair, text: str, place: int) -> None:
    """It is refused, unless only the line breaks of the signature differ; nothing else is ever raised."""
    good = issue(TICKET, key_manager.private)
    with suppress(TicketRefused):
        assert read_ticket(good[:place] + text + good[place:], key_manager.public) == TICKET
    with pytest.raises(TicketRefused):
        read_ticket(text, key_manager.public)


def test_a_signed_text_that_is_no_ticket(key_manager: Pair) -> None:
    """The key manager may sign other things, too."""
    with pytest.raises(TicketRefused, match="malformed"):
        read_ticket(issue(replace(TICKET, requester="a###b"), key_manager.private), key_manager.public)
