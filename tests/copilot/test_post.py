"""The post, as peers see it: what is acknowledged, what is acted on, and what comes again."""

from __future__ import annotations

import json
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, fromstring

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tests.copilot.line import AGENT, JM, Line
from ucvm_agent.assignment.visit import Known
from ucvm_agent.copilot import complaints, messages
from ucvm_agent.copilot.messages import AnyMessage, HaveJob, JobDone, RunJob, Sleep
from ucvm_agent.copilot.post import MAX_BYTES, Post
from ucvm_agent.copilot.signature import NAMESPACE, Signer, Verifier
from ucvm_agent.copilot.stanza import Envelope, Hash, message_element, read_message
from ucvm_agent.errors import DeliveryDelayed, DeliveryRefused
from ucvm_agent.settings import Xmpp

DATA = Path(__file__).parent.parent / "data" / "copilot"
CAPTURED = [json.loads(line) for line in (DATA / "wire.jsonl").read_text().splitlines()]

HAVE: Hash = {"command": "have_getJob", "requireFile": "/cvmfs"}
KEY = Ed25519PrivateKey.generate()
DONE: Hash = {"command": "jobDone", "jobID": "j", "exitCode": "0"}


@dataclass
class Desk:
    """A post, its connection, and whoever acts on its commands."""

    line: Line = field(default_factory=Line)
    taken: list[tuple[str, AnyMessage]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.post = Post(self.line, accepts=lambda account: account.endswith("@site.example"), clock=lambda: 1000.0)

    def take(self, sender: str, message: AnyMessage, envelope: Envelope) -> None:
        self.taken.append((sender, message))

    def on(self, *kinds: type[AnyMessage]) -> Desk:
        for kind in kinds:
            self.post.on(kind, self.take)
        return self


@pytest.fixture
def desk() -> Desk:
    return Desk().on(HaveJob, JobDone)


def replay(direction: str) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Have the captured traffic of one direction come in; return the acknowledgements, and what was acted on."""
    line = Line()
    acted: list[tuple[str, str]] = []
    post = Post(line, accepts=lambda account: account.endswith("@example.org"))
    for kind in typing.get_args(AnyMessage):
        post.on(kind, lambda _, message, envelope: acted.append((envelope.id, envelope.command)))
    for captured in CAPTURED:
        if captured["direction"] == direction:
            line.deliver(fromstring(captured["stanza"].replace("<message", "<message xmlns='jabber:client'", 1)))
    return line.acks(), acted


@pytest.mark.parametrize("direction", ["agent->jm", "jm->agent"])
def test_the_original_is_answered_as_its_peer_answered(direction: str) -> None:
    """Each command is acted on once, in order, and acknowledged each time to whoever sent it; nothing else is."""
    acks, acted = replay(direction)
    envelopes = [
        read_message(fromstring(line["stanza"].replace("<message", "<message xmlns='jabber:client'", 1)))
        for line in CAPTURED
        if line["direction"] == direction
    ]
    commands = [envelope for envelope in envelopes if not envelope.ack]
    assert acks == [(envelope.sender, envelope.id) for envelope in commands]
    once = {envelope.id: envelope.command for envelope in commands}
    assert acted == list(once.items())
    assert len(commands) - len(once) == (1 if direction == "agent->jm" else 0)  # the damaged repetition


def test_a_command_is_acknowledged_before_it_is_acted_on(desk: Desk) -> None:
    """To the sender's full JID, without an id or a body."""
    seen: list[list[str]] = []
    desk.post.on(HaveJob, lambda *_: seen.append(desk.line.sent[:]))
    desk.line.tell(HAVE)
    (sent,) = seen[0]
    ack = fromstring(sent)
    assert ack.attrib == {"to": JM, "ack": "i1"}
    assert len(ack) == 0


def test_a_repetition_is_acknowledged_again_and_not_acted_on(desk: Desk) -> None:
    """Our acknowledgement was lost; but what another account sends under the same id is another message."""
    desk.line.tell(HAVE)
    desk.line.tell(HAVE, sender="jm@site.example/other")
    assert len(desk.taken) == 1
    desk.line.tell(HAVE, sender="sm@site.example/a")
    assert [sender for sender, _ in desk.taken] == [JM, "sm@site.example/a"]
    assert len(desk.line.acks()) == 3


def test_who_wants_no_acknowledgement_gets_none(desk: Desk) -> None:
    """`noack`: neither at first nor for a repetition."""
    desk.line.tell(HAVE, noack=True)
    desk.line.tell(HAVE, noack=True)
    assert desk.line.sent == []
    assert len(desk.taken) == 1


def test_what_cannot_be_read_is_acknowledged_and_dropped(desk: Desk) -> None:
    """An unknown command silently, a malformed one with a line that names the sender and the attribute, not values."""
    with capture_logs() as logs:
        desk.line.tell({"command": "makeCoffee"}, id="i1")
        desk.line.tell({"command": "jobDone", "jobID": {"a": "secret"}}, id="i2")
        desk.line.tell({"command": {"command": "jobDone"}}, id="i3")
    assert desk.line.acks() == [(JM, "i1"), (JM, "i2"), (JM, "i3")]
    assert desk.taken == []
    (warning,) = [line for line in logs if line["log_level"] == "warning"]
    assert warning["account"] == "jm@site.example"
    assert warning["reason"] == "malformed jobDone: jobDone.jobID (string_type), jobDone.exitCode (missing)"


@pytest.mark.parametrize("id", ["", "x" * 1000])
def test_a_message_without_a_sound_id_is_dropped(desk: Desk, id: str) -> None:  # noqa: A002 - as the attribute is called
    """Nothing could acknowledge it, or remember it."""
    desk.line.tell(HAVE, id=id)
    assert (desk.line.sent, desk.taken) == ([], [])


def test_a_stranger_learns_nothing(desk: Desk) -> None:
    """Not even that the machine is there."""
    with capture_logs() as logs:
        desk.line.tell(HAVE, sender="jm@elsewhere.example/a")
    assert (desk.line.sent, desk.taken) == ([], [])
    assert logs[0]["sender"] == "jm@elsewhere.example/a"


def test_an_error_is_logged_and_never_acknowledged(desk: Desk) -> None:
    """Even if it brings back what we have sent."""
    error = message_element(Envelope(id="i1", to=AGENT, sender=JM, content={"info": HAVE}))
    error.set("type", "error")
    SubElement(error, "{jabber:client}error", {"type": "cancel", "code": "503"}).append(
        Element("{urn:ietf:params:xml:ns:xmpp-stanzas}service-unavailable")
    )
    with capture_logs() as logs:
        desk.line.deliver(error)
    assert (desk.line.sent, desk.taken) == ([], [])
    assert logs[0]["error"] == "service-unavailable"


def test_a_flood_does_not_fill_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few lines a minute for each account and for all, and how many were left out."""
    now = 0.0
    book = complaints.Complaints(clock=lambda: now)
    with capture_logs() as logs:
        for number in range(1000):
            book.write("a stranger's message is dropped", "a@x.example", sender=f"a@x.example/{number}")
        assert len(logs) == complaints.ACCOUNT_LINES
        for number in range(1000):
            book.write("a stranger's message is dropped", f"{number}@x.example")
        assert len(logs) == complaints.ALL_LINES
        now = complaints.SPAN_SECONDS + 1
        book.write("a stranger's message is dropped", "b@x.example")
    assert logs[-2]["count"] == 2000 - complaints.ALL_LINES


def test_what_others_on_the_connection_confirm_is_left_to_them(desk: Desk) -> None:
    """A reported event must not be acknowledged before its controller has it on disk."""
    event = message_element(Envelope(id="i1", to=AGENT, sender=JM, content={"info": {"command": "reportEvent"}}))
    SubElement(event, "{urn:xmpp:receipts}request")
    desk.line.deliver(event)
    desk.line.tell({"command": "newContext", "sequence": "1"}, id="i2")
    assert desk.line.sent == []


def test_who_has_to_be_sure_acknowledges_late() -> None:
    """Until then a repetition comes to him as well, for he may have failed to keep the first."""
    desk = Desk()
    kept: list[Envelope] = []
    desk.post.on(JobDone, lambda sender, message, envelope: kept.append(envelope), late=True)
    desk.line.tell(DONE)
    desk.line.tell(DONE)
    assert len(kept) == 2
    assert desk.line.sent == []
    desk.post.acknowledge(kept[0])
    desk.line.tell(DONE)
    assert len(kept) == 2
    assert desk.line.acks() == [(JM, "i1"), (JM, "i1")]
    desk.line.tell({"command": "jobDone"}, id="i2")
    assert desk.line.acks() == [(JM, "i2")]  # malformed: it would come again for a day


@pytest.mark.parametrize(
    ("info", "stamp", "acted"),
    [
        (HAVE, "1970-01-01T00:00:00Z", False),
        (HAVE, "1970-01-01T00:16:39Z", True),
        (HAVE, "yesterday", True),
        (HAVE, "1970-01-01T00:00:00", False),
        (DONE, "1970-01-01T00:00:00Z", True),
    ],
)
def test_a_command_that_a_server_held_back_is_stale(desk: Desk, info: Hash, stamp: str, acted: bool) -> None:
    """Nobody waits for it any more; but a result is a result, and a short loss of the connection is none."""
    message = message_element(Envelope(id="i1", to=AGENT, sender=JM, content={"info": info}))
    SubElement(message, "{urn:xmpp:delay}delay", {"stamp": stamp})
    desk.line.deliver(message)
    assert bool(desk.taken) is acted
    assert desk.line.acks() == [(JM, "i1")]


def test_what_is_sent_is_a_command_with_an_id(desk: Desk) -> None:
    """And what cannot be sent now is said so at once."""
    id = desk.post.send(JM, Sleep())  # noqa: A001 - as the attribute is called
    desk.post.forward(JM, {"info": {"command": "theirs"}}, noack=True)
    first, second = desk.line.take()
    assert first == Envelope(id=id, to=JM, content={"info": {"command": "sleep"}})
    assert (second.command, second.noack) == ("theirs", True)
    desk.line.online = False
    with pytest.raises(DeliveryDelayed):
        desk.post.send(JM, Sleep())
    with pytest.raises(ValueError, match="kept"):
        desk.post.send(JM, Sleep(), keep=True)


def test_a_message_that_would_end_the_stream_is_refused(desk: Desk) -> None:
    """Again and again, if it were kept."""
    with pytest.raises(DeliveryRefused, match="error has"):
        desk.post.send(JM, messages.Error(error_string="x" * MAX_BYTES))
    assert desk.line.sent == []


def test_what_is_not_authentic_is_dropped_without_acknowledgement() -> None:
    """And does not stand in the way of the true message of the same id."""
    line, acted, memory, signer = Line(), list[str](), Known(), Signer(KEY, JM)
    required = Xmpp(signatures="required")
    post = Post(line, accepts=lambda _: True, signer=signer, verifier=Verifier(required, AGENT, memory))
    post.on(HaveJob, lambda sender, message, envelope: acted.append(sender))
    line.tell(HAVE)
    assert (line.sent, acted) == ([], [])
    message = message_element(Envelope(id="i1", to=AGENT, sender=JM, content={"info": HAVE}))
    signer.sign(message)
    line.deliver(message)
    assert acted == [JM]
    restarted = Post(line, accepts=lambda _: True, verifier=Verifier(required, AGENT, memory))
    restarted.on(HaveJob, lambda sender, message, envelope: acted.append(sender))
    line.deliver(message)
    assert acted == [JM]
    assert not any(NAMESPACE in answer for answer in line.sent)  # acknowledgements have no id that could be signed
    assert line.acks() == [(JM, "i1"), (JM, "i1")]
    post.send(JM, Sleep())
    assert NAMESPACE in line.sent[-1]


def test_an_order_that_was_not_written_down_is_obeyed_when_it_comes_again() -> None:
    """The agent was killed in between; once its handler has acknowledged the order, it never counts again."""
    line, acted, memory = Line(), list[Envelope](), Known()
    order = message_element(Envelope(id="i1", to=AGENT, sender=JM, content={"info": HAVE}))
    Signer(KEY, JM).sign(order)
    for life in range(3):
        post = Post(line, accepts=lambda _: True, verifier=Verifier(Xmpp(), AGENT, memory))
        post.on(HaveJob, lambda sender, message, envelope: acted.append(envelope), late=True)
        line.deliver(order)
        if life == 1:
            post.acknowledge(acted[-1])
    assert len(acted) == 2
    assert line.acks() == [(JM, "i1"), (JM, "i1")]


tags = st.sampled_from(["body", "info", "job", "error", "delay", "x"])
namespaces = st.sampled_from(["jabber:client", "urn:xmpp:delay", ""])
attributes = st.dictionaries(
    st.sampled_from(["id", "ack", "noack", "type", "command", "jobID", "stamp", "info"]),
    st.sampled_from(["", "error", "1", "_BASE64:am9iRG9uZQ==", "_BASE64:cnVuSm9i", "jobDone", "_BASE64:/w", "\x85"]),
)


@st.composite
def elements(draw: Callable[[st.SearchStrategy[object]], object], depth: int = 3) -> Element:
    name = f"{{{draw(namespaces)}}}{draw(tags)}".removeprefix("{}")
    element = Element(name, draw(attributes))  # type: ignore[arg-type]  # what `draw` returns is not typed
    if depth:
        element.extend(draw(st.lists(elements(depth - 1), max_size=2)))  # type: ignore[arg-type]  # as above
    return element


@given(attributes, st.lists(elements(), max_size=3), st.sampled_from([JM, "", "x/y/z", "\u2028@site.example"]))
def test_no_message_makes_the_post_fail(attributes: dict[str, str], children: list[Element], sender: str) -> None:
    """Nor brings about more than one acknowledgement."""
    desk = Desk().on(JobDone, RunJob)
    message = Element("{jabber:client}message", attributes | {"from": sender})
    message.extend(children)
    desk.line.deliver(message)
    assert len(desk.line.acks()) <= 1
