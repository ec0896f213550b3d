"""The commands of the original Co-Pilot (references/copilot-protocol.md, section 2).

Some have attributes that only our own ends use; those are marked as ours, and described in docs/protocol-jobs.md.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

FILE_SEPARATOR = "###"
"""Between the names of `inputFiles` (references/copilot-protocol.md, section 2.4)."""

MAX_CHARACTERS = 100_000
"""Longest value: several times what fits into a message that servers pass on."""


class Message(BaseModel):
    """The base of all; attributes that we do not know are ignored."""

    model_config = ConfigDict(
        frozen=True, populate_by_name=True, hide_input_in_errors=True, str_max_length=MAX_CHARACTERS
    )


class Host(Message):
    """What an agent says of itself when it asks.

    Arguments:
        machine_id, slot: ours; which machine asks, and for which of its slots, counted from 1.
        request: ours; a UUID that our controller echoes, so that an answer finds the slot that asked.
    """

    agent_host: str = Field("", alias="agentHost")
    machine_id: str = Field("", alias="machineID")
    slot: str = ""
    request: str = ""


class WantJob(Host):
    """Is there a job for this machine? To the configured address."""

    command: Literal["want_getJob"] = "want_getJob"
    jdl: str = ""


class HaveJob(Message):
    """There may be one. `require_file` has to exist on the machine; empty is absent.

    Arguments:
        direct: ours; `1` allows `getJob` without asking first from now on.
    """

    command: Literal["have_getJob"] = "have_getJob"
    require_file: str = Field("", alias="requireFile")
    request: str = ""
    direct: str = ""


class GetJob(Host):
    """Give me the job. To whoever has it."""

    command: Literal["getJob"] = "getJob"
    jdl: str = ""


class JobDescription(Message):
    """The `job` element: what to run.

    Arguments:
        arguments, environment: shell text.
        validation_script: under either of its two names, the code's first.
        inputs: ours; JSON, where each input file is if not on the Chirp server: see docs/protocol-jobs.md.
        limits: ours; JSON, what the job may use at most.
    """

    id: str
    command: str
    arguments: str = ""
    chirp_url: str = Field("", alias="chirpUrl")
    input_dir: str = Field("", alias="inputDir")
    input_files: str = Field("", alias="inputFiles")
    environment: str = ""
    packages: str = ""
    output_dir: str = Field("", alias="outputDir")
    validation_script: str = Field(
        "", validation_alias=AliasChoices("validationScript", "validation"), serialization_alias="validationScript"
    )
    inputs: str = Field("", repr=False)
    limits: str = ""

    @property
    def file_names(self) -> tuple[str, ...]:
        """The names of the input files."""
        return tuple(name for name in self.input_files.split(FILE_SEPARATOR) if name)


class RunJob(Message):
    """Run this.

    Arguments:
        job_data: the manager's own, echoed byte for byte.
        lease: ours; which handing out of the job this is. An agent that has one reports how the job is (`jobState`).
    """

    command: Literal["runJob"] = "runJob"
    job: JobDescription
    job_data: str = Field("", alias="jmJobData")
    request: str = ""
    lease: str = ""


class JobMessage(Host):
    """The base of what an agent says of a job that it has."""

    job_id: str = Field(alias="jobID")
    job_data: str = Field("", alias="jmJobData")
    lease: str = ""


class WantOutputDir(JobMessage):
    """Who takes the output of this job? To the configured address."""

    command: Literal["want_getJobOutputDir"] = "want_getJobOutputDir"
    agent_ip: str = Field("todo", alias="agentIP")


class HaveOutputDir(Message):
    """I do."""

    command: Literal["have_getJobOutputDir"] = "have_getJobOutputDir"
    request: str = ""


class GetOutputDir(JobMessage):
    """Where may I put it? To whoever takes it."""

    command: Literal["getJobOutputDir"] = "getJobOutputDir"


class StoreOutputDir(Message):
    """Put it there.

    Arguments:
        output_chirp_url: `host:port`; the archive's path is `<job id>/<job id>.tgz`.
        output_url, output_token: ours; a URL for the archive that is used instead, and the bearer token for it.
    """

    command: Literal["storeJobOutputDir"] = "storeJobOutputDir"
    job_id: str = Field(alias="jobID")
    output_chirp_url: str = Field("", alias="outputChirpUrl")
    output_dir: str = Field("", alias="outputDir")
    job_data: str = Field("", alias="jmJobData")
    request: str = ""
    output_url: str = Field("", alias="outputUrl")
    output_token: str = Field("", alias="outputToken", repr=False)


class JobDone(JobMessage):
    """The job has ended, and its output is where it belongs.

    Arguments:
        exit_code, validate_exit_code: raw wait statuses; the second only if there was a validation script.
        checksum: ours; SHA-256 of the archive, in hexadecimal.
        reason: ours; the limit that ended it, for a person, since a wait status does not tell.
    """

    command: Literal["jobDone"] = "jobDone"
    state: str = "ready"
    exit_code: str = Field(alias="exitCode")
    validate_exit_code: str = Field("", alias="validateExitCode")
    checksum: str = ""
    reason: str = ""


class Redirect(Message):
    """Send `info` to another manager, unchanged."""

    command: Literal["redirect"] = "redirect"
    referral: str
    info: dict[str, Any]


class Sleep(Message):
    """There is nothing to do for now."""

    command: Literal["sleep"] = "sleep"


class Error(Message):
    """Something is wrong with what the receiver did."""

    command: Literal["error"] = "error"
    error_string: str = Field("", alias="errorString")


class ReportEvent(Message):
    """Count something; to a monitor."""

    command: Literal["reportEvent"] = "reportEvent"
    component: str
    event: str


class ReportDuration(Message):
    """Count something that took this many milliseconds."""

    command: Literal["reportEventDuration"] = "reportEventDuration"
    component: str
    event: str
    duration: str


class ReportValue(Message):
    """Record a value."""

    command: Literal["reportEventValue"] = "reportEventValue"
    component: str
    event: str
    value: str


class Ping(Message):
    """Are you there?"""

    command: Literal["Heartbeat:ping"] = "Heartbeat:ping"


class Pong(Message):
    """I am."""

    command: Literal["pong"] = "pong"


class GetStatus(Message):
    """How is this part of your machine?"""

    command: Literal["Heartbeat:getStatus"] = "Heartbeat:getStatus"
    component: str = ""


class HaveStatus(Message):
    """So it is."""

    command: Literal["haveStatus"] = "haveStatus"
    component: str
    status: str


class GetTicket(Message):
    """Give me a ticket (secure mode)."""

    command: Literal["getTicket"] = "getTicket"
    credential: str = Field("No credential", repr=False)


class StoreTicket(Message):
    """Here it is."""

    command: Literal["storeTicket"] = "storeTicket"
    ticket: str = Field(repr=False)


class SecurityError(Message):
    """I cannot read what you sent."""

    command: Literal["security_error"] = "security_error"
    error_string: str = Field("", alias="errorString")


Command: TypeAlias = (
    WantJob
    | HaveJob
    | GetJob
    | RunJob
    | WantOutputDir
    | HaveOutputDir
    | GetOutputDir
    | StoreOutputDir
    | JobDone
    | Redirect
    | Sleep
    | Error
    | ReportEvent
    | ReportDuration
    | ReportValue
    | Ping
    | Pong
    | GetStatus
    | HaveStatus
    | GetTicket
    | StoreTicket
    | SecurityError
)
"""Any of them."""
