"""Where in Redis a job is: under its own key, in one list while it waits, and in the sets that it is found by."""

from __future__ import annotations

from ucvm_agent.controller.model import Job, JobStatus

QUEUE = "waiting_jobs"
"""Ids of the jobs that wait for anybody; the original's."""

OURS = "ucvm:waiting"
"""Ids of the jobs that wait for an agent of ours, where no original job manager sees them."""


def job_key(id: str) -> str:  # noqa: A002 - as the field is called
    """Return the key of all that we know of a job."""
    return f"ucvm:job:{id}"


def queue_of(job: Job) -> str:
    """Return the key of the list that a job waits in."""
    return OURS if job.description.needs_ours else QUEUE


def status_key(status: JobStatus) -> str:
    """Return the key of the set of the jobs of a status."""
    return f"ucvm:jobs:{status}"


def ended_key(status: JobStatus) -> str:
    """Return the key of the set of the jobs that ended so, by when."""
    return f"ucvm:ended:{status}"


def event_number(stream_id: str) -> int:
    """Return the number of an entry of a stream: its milliseconds, and up to a thousand in each."""
    milliseconds, _, place = stream_id.partition("-")
    return int(milliseconds) * 1000 + int(place or 0)
