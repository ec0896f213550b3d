"""Reading what a manager wants to have run."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ucvm_agent.copilot.messages import JobDescription, RunJob, StoreOutputDir
from ucvm_agent.errors import JobRefused, TransferRefused
from ucvm_agent.jobs.description import read_inputs, read_job, read_limits
from ucvm_agent.jobs.output import target_of
from ucvm_agent.jobs.running.limits import Limits

CHIRP = {"chirpUrl": "chirp.example.org:9094", "inputDir": "job-1"}


def job(**values: str) -> JobDescription:
    return JobDescription.model_validate({"id": "job-1", "command": "run.sh", **CHIRP, **values})


def test_inputs_come_from_where_they_are_said_to_be() -> None:
    """What `inputs` does not name is on the Chirp server."""
    inputs = json.dumps([{"name": "data", "url": "https://files.example.org/d", "sha256": "a" * 64, "token": "secret"}])
    read = read_inputs(job(inputFiles="run.sh###data", inputs=inputs))
    assert [each.url for each in read] == ["chirp://chirp.example.org:9094/job-1/run.sh", "https://files.example.org/d"]
    assert "secret" not in repr(read)


def test_the_lower_limit_counts() -> None:
    """The machine's own or the job's; 0 is none."""
    own = Limits(wall=100, memory=1000, processes=0)
    asked = job(limits='{"wall_seconds": 50, "memory_bytes": 2000, "processes": 7}')
    limits = read_limits(asked, own)
    assert (limits.wall, limits.memory, limits.processes) == (50, 1000, 7)


@given(st.text(), st.text())
def test_whatever_a_manager_sends(limits: str, inputs: str) -> None:
    """It is understood, or refused with a reason."""
    asked = job(limits=limits, inputs=inputs, inputFiles="run.sh")
    for read in (lambda: read_limits(asked, Limits()), lambda: read_inputs(asked)):
        with suppress(JobRefused, TransferRefused):
            read()


@given(st.text(), st.text(), st.text())
def test_names_that_leave_the_folder(job_id: str, command: str, files: str) -> None:
    """They are refused, whatever they look like."""
    run = RunJob(job=JobDescription(id=job_id, command=command, input_files=files))
    try:
        read = read_job(run, "jm@site.example/a")
    except JobRefused:
        return
    for name in (read.command, *read.input_files):
        assert not name.startswith("/")
        assert ".." not in name.split("/")


def test_the_place_of_output() -> None:
    """A URL counts before the Chirp server; the manifest is beside the archive."""
    order = StoreOutputDir(job_id="job-1", output_chirp_url="chirp.example.org:9094", output_dir="elsewhere")
    assert target_of(order, "job-1.tgz").archive == "chirp://chirp.example.org:9094/job-1/job-1.tgz"
    order = order.model_copy(update={"output_url": "https://c.example.org/put?job=1", "output_token": "secret"})
    target = target_of(order, "job-1.tgz")
    assert (target.archive, target.manifest) == (order.output_url, "https://c.example.org/put.sha256?job=1")
    with pytest.raises(TransferRefused):
        target_of(StoreOutputDir(job_id="job-1"), "job-1.tgz")
