"""What a manager's `runJob` asks for, as those who run jobs and move files understand it."""

from __future__ import annotations

import dataclasses

from pydantic import BaseModel, ConfigDict, Field, SecretStr, TypeAdapter, ValidationError

from ucvm_agent.copilot.messages import JobDescription, RunJob
from ucvm_agent.errors import JobRefused
from ucvm_agent.jobs.running.job import Job
from ucvm_agent.jobs.running.limits import Limits
from ucvm_agent.transfer.location import chirp_url


class Input(BaseModel):
    """Where an input file is (docs/protocol-jobs.md, "Inputs, output, limits").

    Arguments:
        token: bearer token for the URL.
    """

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    name: str
    url: str = Field("", repr=False)
    sha256: str = Field("", pattern="^([0-9a-fA-F]{64})?$")
    token: SecretStr = SecretStr("")


class Bounds(BaseModel):
    """What a job may use at most; None leaves it to this machine."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    wall_seconds: float | None = Field(None, gt=0)
    memory_bytes: int | None = Field(None, gt=0)
    cpus: float | None = Field(None, gt=0)
    processes: int | None = Field(None, gt=0)
    disk_bytes: int | None = Field(None, gt=0)


_INPUTS = TypeAdapter(list[Input])


def read_job(run: RunJob, manager: str) -> Job:
    """Return the job.

    Raises:
        JobRefused: it asks for something that is never done.
    """
    asked = run.job
    return Job(
        id=asked.id,
        command=asked.command,
        arguments=asked.arguments,
        environment=asked.environment,
        packages=tuple(asked.packages.split()),
        input_files=asked.file_names,
        chirp_url=asked.chirp_url,
        input_dir=asked.input_dir,
        output_dir=asked.output_dir,
        validation_script=asked.validation_script,
        manager=manager,
        data=run.job_data,
    )


def read_limits(asked: JobDescription, own: Limits) -> Limits:
    """Return the limits of a job: the lower ones of its own and this machine's.

    Raises:
        JobRefused: they are not understood.
    """
    try:
        bounds = Bounds.model_validate_json(asked.limits or "{}")
    except ValidationError:
        raise JobRefused("its limits are not what they have to be") from None
    return dataclasses.replace(
        own,
        wall=_lower(own.wall, bounds.wall_seconds),
        memory=int(_lower(own.memory, bounds.memory_bytes)),
        cpus=_lower(own.cpus, bounds.cpus),
        processes=int(_lower(own.processes, bounds.processes)),
        disk=int(_lower(own.disk, bounds.disk_bytes)),
    )


def read_inputs(asked: JobDescription) -> list[Input]:
    """Return where each input file is: what `inputs` does not name is on the Chirp server.

    Raises:
        JobRefused: they are not understood; TransferRefused: no server is named.
    """
    try:
        named = {each.name: each for each in _INPUTS.validate_json(asked.inputs or "[]") if each.url}
    except ValidationError:
        raise JobRefused("its inputs are not what they have to be") from None
    return [
        named.get(name) or Input(name=name, url=chirp_url(asked.chirp_url, asked.input_dir, name))
        for name in dict.fromkeys(asked.file_names)
    ]


def _lower(own: float, asked: float | None) -> float:
    """Return the lower of two limits, of which 0 and None are none."""
    return min(own, asked) if own and asked else asked or own
