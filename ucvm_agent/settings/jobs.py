"""The jobs that the machine works, and their files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr

from ucvm_agent.settings.kinds import Names, Section, Url


class Secure(Section):
    """`[jobs.secure]`: the encryption of original Co-Pilot job managers; old: TLS and signatures are better."""

    public_keys_file: Path | None = Field(
        None, description="file of public keys by JID, as the original has it; encrypts all that is said of jobs"
    )
    key_manager: str = Field("", description="JID of who gives tickets; empty = there is none")
    credential: SecretStr = Field(SecretStr(""), description="what the key manager wants to see")


class Jobs(Section):
    """`[jobs]`: the jobs of Co-Pilot, and how each of them runs by itself; a limit of 0 is none."""

    enabled: bool = Field(False, description="ask xmpp.controllers for jobs and run them")
    slots: int = Field(0, ge=0, description="jobs at the same time; 0 = one for each core")
    when_degraded: bool = Field(False, description="take jobs although the machine is not all that it has to be")
    at_stop: Literal["leave", "give-back"] = Field(
        "leave",
        description="of a job, when the agent stops: leave = the next start goes on with it; give-back = it is ended,"
        " as it always is when the machine shuts down, and its manager is told",
    )
    retry_seconds: float = Field(60.0, gt=0, description="from a question to the next; twice as long each time, …")
    retry_limit_seconds: float = Field(
        1920.0,
        gt=0,
        description="… up to this; then it begins anew; so long, too, an archive is tried that has no room on the disk",
    )
    pause_seconds: float = Field(
        60.0, ge=0, description="least time between two questions, which original managers want"
    )
    answer_seconds: float = Field(60.0, gt=0, description="for a job, once a manager has offered it")
    output_answer_seconds: float = Field(
        10.0, gt=0, description="for the place of output, once a manager has offered it"
    )
    renewal_seconds: float = Field(60.0, gt=0, description="between two messages that a job is alive")
    sleep_seconds: float = Field(1200.0, ge=0, description="longest silence when a manager wants one")
    reboot_on_sleep: bool = Field(
        False, description="restart the machine after such a silence, as the original agent did"
    )
    reboot_uptime: float = Field(
        3600.0, ge=0, description="seconds that the machine has to be up before that: nobody restarts it all the time"
    )
    require_prefixes: Names = Field(("/cvmfs/",), description="folders in which managers may demand files")
    min_free_bytes: int = Field(2**30, ge=0, description="free space below which no more jobs are taken; 0 = any")
    user: str = Field(
        "ucvm-job",
        description="account of the jobs, if the agent is root; else they have its own. Where there is a NAME-1, the"
        " jobs of the first slot have that, and so on: then no slot can read or end another's",
    )
    work_dir: Path = Field(
        Path("/var/lib/ucvm-jobs"),
        description="their folders, beneath the root; any user may pass through it, and"
        " it is not beneath /tmp or /var/tmp, of which each job has its own",
    )
    wall_limit: float = Field(86400.0, ge=0, description="seconds for a job, and again for its validation")
    memory_limit: int = Field(4 * 1024**3, ge=0, description="bytes of memory of all processes of a job")
    cpus: float = Field(1.0, ge=0, description="processors that a job may keep busy, where there are cgroups")
    processes: int = Field(512, ge=0, description="processes and threads of a job")
    disk_limit: int = Field(20 * 1024**3, ge=0, description="bytes in the folder of a job")
    output_limit: int = Field(64 * 1024**2, ge=1, description="bytes that are kept of each of stdout and stderr")
    archive_limit: int = Field(2 * 1024**3, ge=1, description="bytes of the files that go into a job's archive")
    secure: Secure = Secure.model_construct()


def _tokens(items: tuple[str, ...]) -> tuple[str, ...]:
    if not all(host and file.startswith("/") for host, _, file in (item.partition("=") for item in items)):
        raise ValueError("is not a list of HOST=/FILE")
    return items


class Transfer(Section):
    """`[transfer]`: how the files of jobs are moved."""

    timeout: float = Field(1800.0, gt=0, description="seconds for one try of one file")
    deadline: float = Field(7200.0, gt=0, description="seconds in which a file is tried again, after passing faults")
    max_bytes: int = Field(10 * 2**30, ge=0, description="most bytes of one file")
    chirp_auth: Literal["address", "hostname", "unix"] = Field("address", description="how Chirp servers know us")
    s3_endpoint: Url = Field("", description="of a store that is not Amazon's")
    token_files: Annotated[Names, AfterValidator(_tokens)] = Field(
        (), description="HOST=/FILE with the bearer token that is sent to that host, by https only"
    )
    file_roots: Names = Field((), description="folders in which file:///… may name files; without them: none")
    ca_file: Path | None = Field(None, description="certificates to trust instead of the system's")
