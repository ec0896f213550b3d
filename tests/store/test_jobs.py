"""The book of jobs."""

from __future__ import annotations

from pathlib import Path

import pytest

from ucvm_agent.events import JobPhase
from ucvm_agent.store import status
from ucvm_agent.store.jobs import KEPT_JOBS, Question
from ucvm_agent.store.store import Store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


def take(store: Store, number: int = 1, slot: int = 1) -> bool:
    return store.jobs.take(
        slot, message=f"message-{number}", manager="jm@x/a", job_id=f"job-{number}", lease="", document="secret"
    )


def test_a_job_survives_its_agent(path: Path) -> None:
    """The next one knows it, and how far it was."""
    store = Store(path, "boot-1")
    store.jobs.ask(Question(1, "jm@x/a", "request-1", 1000.0))
    assert take(store)
    job = store.jobs.job(1)
    assert job is not None
    store.jobs.enter(job, JobPhase.UPLOADING, exit_status=768)
    store.close()
    store = Store(path, "boot-2")
    job = store.jobs.job(1)
    assert job is not None
    assert (job.job_id, job.phase, job.exit_status, job.boot_id) == ("job-1", JobPhase.UPLOADING, 768, "boot-1")
    assert store.jobs.questions() == []
    assert [line.phase for line in status.read(path).jobs] == [JobPhase.UPLOADING]
    assert "secret" not in status.read(path).model_dump_json()
    store.close()


def test_a_message_is_taken_once(path: Path) -> None:
    """Even if the server delivers it again after the job is over."""
    store = Store(path, "boot-1")
    assert take(store)
    job = store.jobs.job(1)
    assert job is not None
    store.jobs.enter(job, JobPhase.DONE)
    assert not take(store)
    assert store.jobs.job(1) is None
    store.close()


def test_old_jobs_are_forgotten(path: Path) -> None:
    """But never one that a slot has."""
    store = Store(path, "boot-1")
    take(store, 0, slot=2)
    for number in range(1, KEPT_JOBS + 10):
        take(store, number)
        job = store.jobs.job(1)
        assert job is not None
        store.jobs.enter(job, JobPhase.DONE)
    assert [job.job_id for job in store.jobs.present()] == ["job-0"]
    assert take(store, 1)
    store.close()
