"""Each command of the protocol, as the reference writes it, in both directions."""

from __future__ import annotations

import types
import typing
from contextlib import suppress
from pathlib import Path
from xml.etree.ElementTree import Element, fromstring, tostring

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from ucvm_agent.copilot import messages
from ucvm_agent.copilot.messages import AnyMessage, JobDescription, content, read
from ucvm_agent.copilot.stanza import Envelope, message_element, read_message
from ucvm_agent.errors import MessageRefused

DATA = Path(__file__).parent.parent / "data" / "copilot"
COMMANDS = (DATA / "commands.txt").read_text().splitlines()
"""The examples of references/copilot-protocol.md, section 2, in their order; the last two are for secure mode."""

HOST = "vm1.example.org"
ID = "b0a1c2d3-0001"
DATA_OF_MANAGER = "startedAt=1363000000\n"
JDL = """[
Type="machine";
Requirements=(other.Type=="Job");
WNHost="vm1.example.org";
Version="0";
LocalDiskSpace=4257288;
Uname="2.6.32-573";
Swap=127;
Memory=1010;
FreeMemory=683;
FreeSwap=127;
Platform="Linux-x86_64";
]
"""

MEANT: tuple[AnyMessage, ...] = (
    messages.WantJob(agent_host=HOST, jdl=JDL),
    messages.HaveJob(require_file="/cvmfs/sft.cern.ch/lcg"),
    messages.GetJob(agent_host=HOST, jdl=JDL),
    messages.RunJob(
        job_data=DATA_OF_MANAGER,
        job=JobDescription(
            id=ID,
            chirp_url="chirp.example.org:9094",
            input_dir=ID,
            input_files="run.sh###steer.txt",
            command="run.sh",
            arguments="-n 100",
            environment="export SEED=7",
            packages="VO_ALICE@AliRoot::v4-16-Rev-01",
        ),
    ),
    messages.WantOutputDir(job_id=ID, agent_host=HOST, job_data=DATA_OF_MANAGER),
    messages.HaveOutputDir(),
    messages.GetOutputDir(job_id=ID, agent_host=HOST, job_data=DATA_OF_MANAGER),
    messages.StoreOutputDir(job_id=ID, output_dir=ID, output_chirp_url="chirp.example.org:9094"),
    messages.JobDone(job_id=ID, agent_host=HOST, exit_code="0", job_data=DATA_OF_MANAGER),
    messages.Redirect(
        referral="sm@xmpp.example.org", info={"command": "jobDone", "jobID": ID, "exitCode": "0", "state": "done"}
    ),
    messages.Sleep(),
    messages.Error(error_string="The ticket is not valid for this component"),
    messages.ReportEvent(component="jobmanager.generic.alpha", event="job.start"),
    messages.ReportDuration(component="jobmanager.generic.alpha", event="job.succeeded", duration="61000"),
    messages.ReportValue(component="jobmanager.generic.alpha", event="queuedJobs", value="42"),
    messages.Ping(),
    messages.Pong(),
    messages.GetStatus(component="systemLoad"),
    messages.HaveStatus(component="systemLoad", status="0.90 0.65 0.52"),
    messages.SecurityError(error_string="Could not decrypt the message"),
    messages.GetTicket(credential="site-credential"),
    messages.StoreTicket(ticket="U0lH###KiMjIzEzNjMwMDAwMDAjIyMxMzYzMDg2NDAwIyMjYWdlbnRAeG1wcC5leGFtcGxlLm9yZw=="),
)

texts = st.text(st.characters(exclude_categories=["Cs"]))
KINDS: tuple[type[AnyMessage], ...] = typing.get_args(AnyMessage)


def parse(stanza: str) -> Element:
    return fromstring(stanza.replace("<message", "<message xmlns='jabber:client'", 1))


def normal(element: Element) -> object:
    """Return what has to be the same for our stanza to be the original's: names, nesting, and values to the byte.

    Three things may differ, for no receiver sees them: the order of attributes (random in the original), the line
    breaks of MIME in base64 (the original writes them, the reference does not), and whether an empty optional value
    is there. Attributes that the server makes (`from`) are left out.
    """
    values = {name: "".join(value.split()) for name, value in element.attrib.items() if name != "from"}
    return (
        element.tag,
        {name: value for name, value in values.items() if value != "_BASE64:"},
        [normal(child) for child in element],
    )


@pytest.mark.parametrize(("stanza", "meant"), list(zip(COMMANDS, MEANT, strict=True)), ids=lambda x: type(x).__name__)
def test_a_command_of_the_original_is_understood(stanza: str, meant: AnyMessage) -> None:
    """Every attribute has its place in the typed message."""
    assert read(read_message(parse(stanza))) == meant


@pytest.mark.parametrize(("stanza", "meant"), list(zip(COMMANDS, MEANT, strict=True)), ids=lambda x: type(x).__name__)
def test_a_command_is_written_as_the_original_writes_it(stanza: str, meant: AnyMessage) -> None:
    """Our end cannot be told from the original's by what it sends."""
    golden = parse(stanza)
    envelope = Envelope(
        id=golden.get("id", ""), to=golden.get("to", ""), noack=golden.get("noack") == "1", content=content(meant)
    )
    assert normal(fromstring(tostring(message_element(envelope)))) == normal(golden)


def test_a_validation_script_has_two_names() -> None:
    """The code's and the report's; ours is the code's, which is all that the original reads."""
    job = {"id": "j", "command": "run.sh"}
    for named in ({"validation": "v.sh"}, {"validation": "x.sh", "validationScript": "v.sh"}):
        read_job = read(Envelope(content={"info": {"command": "runJob", "job": {**job, **named}}}))
        assert isinstance(read_job, messages.RunJob)
        assert read_job.job.validation_script == "v.sh"
        assert content(read_job) == {"info": {"command": "runJob", "job": {**job, "validationScript": "v.sh"}}}


def any_of(kind: type[BaseModel]) -> st.SearchStrategy[BaseModel]:
    """Return messages of a kind with any values."""
    fields = {name: _values(field.annotation) for name, field in kind.model_fields.items() if name != "command"}
    if kind is JobDescription:
        fields["command"] = texts
    return st.builds(kind, **fields)


def _values(annotation: object) -> st.SearchStrategy[object]:
    if typing.get_origin(annotation) is typing.Literal:
        return st.sampled_from(typing.get_args(annotation))
    if isinstance(annotation, types.GenericAlias):
        return st.dictionaries(st.sampled_from(["command", "a", "b"]), texts)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return any_of(annotation)
    return st.integers(0, 2**63) if annotation is int else texts


@pytest.mark.parametrize("kind", KINDS)
def test_every_message_survives_the_wire(kind: type[AnyMessage]) -> None:
    """Any text in any attribute comes back as it was, through a real parser."""

    @given(any_of(kind))
    def survives(message: AnyMessage) -> None:
        wire = tostring(message_element(Envelope(id="i", content=content(message))))
        assert read(read_message(fromstring(wire))) == message

    survives()


hashes = st.recursive(
    st.one_of(texts, st.sampled_from(["1", "-1", "9" * 5000, "running", "stdout"])),
    lambda inner: st.dictionaries(st.sampled_from(["info", "job", "jobID", "offset", "referral"]), inner, max_size=4),
    max_leaves=8,
)


@given(st.sampled_from(sorted(messages.COMMANDS)), st.dictionaries(st.sampled_from(["info", "job", "state"]), hashes))
def test_nothing_that_a_command_says_does_harm(command: str, said: dict[str, str]) -> None:
    """It is understood, or refused."""
    with suppress(MessageRefused):
        assert read(Envelope(content={"info": {**said, "command": command}})) is not None


def test_a_malformed_command_is_told_from_an_unknown_one() -> None:
    """What is wrong with it is said, without the values, which may be secret."""
    assert read(Envelope(content={"info": {"command": "makeCoffee"}})) is None
    assert read(Envelope(content={"info": {"command": {"command": "getJob"}}})) is None
    assert read(Envelope()) is None
    with pytest.raises(MessageRefused) as caught:
        read(Envelope(content={"info": {"command": "runJob", "job": {"command": "run.sh", "limits": {"s": "secret"}}}}))
    assert str(caught.value) == "malformed runJob: runJob.job.id (missing), runJob.job.limits (string_type)"
