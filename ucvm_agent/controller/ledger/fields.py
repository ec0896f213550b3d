"""How a job is kept: as named pieces of text, the same in every ledger."""

from __future__ import annotations

import json
from collections.abc import Mapping

from ucvm_agent.controller.model import Description, Job, Lease, Result
from ucvm_agent.errors import UsageError

SEPARATOR = "::::"
"""Between the fields of an original description (references/copilot-protocol.md, section 4.1)."""

FILES = "###"
"""Between the names of files."""


def write_job(job: Job) -> dict[str, str]:
    """Return all of a job but its id."""
    return {
        "description": job.description.model_dump_json(exclude_defaults=True),
        "status": job.status,
        "submitted": job.submitted.isoformat(),
        "changed": job.changed.isoformat(),
        "tries": str(job.tries),
        "max_tries": str(job.max_tries),
        "lease": job.lease.model_dump_json() if job.lease else "",
        "result": job.result.model_dump_json() if job.result else "",
        "reason": job.reason,
        "token": job.token.get_secret_value(),
        "takers": json.dumps(job.takers),
    }


def read_job(id: str, fields: Mapping[str, str]) -> Job:  # noqa: A002 - as the field is called
    """Return the job that `write_job` wrote.

    Raises:
        pydantic.ValidationError, KeyError: these are not its fields.
    """
    plain = {name: fields[name] for name in ("status", "submitted", "changed", "tries", "max_tries", "reason", "token")}
    return Job.model_validate(
        {
            **plain,
            "id": id,
            "description": Description.model_validate_json(fields["description"]),
            "lease": Lease.model_validate_json(fields["lease"]) if fields["lease"] else None,
            "result": Result.model_validate_json(fields["result"]) if fields["result"] else None,
            "takers": json.loads(fields["takers"]),
        }
    )


def uploads_of(description: str) -> list[str]:
    """Return the SHA-256 of each uploaded input in a description that `write_job` wrote."""
    inputs = json.loads(description).get("inputs", ())
    return [file["sha256"] for file in inputs if not file.get("url") and file.get("sha256")]


def write_original(description: Description) -> str:
    """Return a description as the original's tools write it.

    Raises:
        UsageError: it cannot be written so.
    """
    values = (
        description.chirp_url,
        description.input_dir,
        FILES.join(description.input_files),
        description.command,
        description.arguments,
        description.environment,
        " ".join(description.packages),
    )
    text = SEPARATOR.join(values)
    if tuple(text.split(SEPARATOR)) != values:
        raise UsageError(
            "its fields cannot be told apart", where="job description", hint="none may hold :::: or touch it with a :"
        )
    return text


def read_original(text: str) -> Description:
    """Return a description that an original tool wrote; fields too many are dropped, missing ones are empty."""
    values = text.split(SEPARATOR)[:7]
    chirp_url, input_dir, files, command, arguments, environment, packages = values + [""] * (7 - len(values))
    return Description(
        chirp_url=chirp_url,
        input_dir=input_dir,
        input_files=tuple(name for name in files.split(FILES) if name),
        command=command,
        arguments=arguments,
        environment=environment,
        packages=tuple(packages.split()),
    )
