"""What a job may be called, and may ask for."""

from __future__ import annotations

import os
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ucvm_agent.errors import JobRefused
from ucvm_agent.jobs.running.job import Job, package_name


def job(**values: Any) -> Job:
    """Return a job that differs from a plain one in these values."""
    return Job(**{"id": "b0a1c2d3-0001", "command": "run.sh", "input_files": ("run.sh",)} | values)


@pytest.mark.parametrize(
    "values",
    [
        {"id": ".."},
        {"id": "a/b"},
        {"id": ""},
        {"id": "x" * 129},
        {"id": "a\n"},
        {"command": ""},
        {"command": "../run.sh"},
        {"command": "/bin/sh"},
        {"command": "-rf"},
        {"command": "a\nb"},
        {"command": "a/./b"},
        {"command": "\udcff"},
        {"validation_script": "a/../../b"},
        {"input_files": ("good", "etc/../../bad")},
        {"input_files": ("stdout",)},
        {"input_files": ("_wrapper_.sh",)},
        {"input_files": ("b0a1c2d3-0001.tgz",)},
        {"input_files": ("x" * 256,)},
        {"packages": ("VO_ALICE@Ali Root::v1",)},
        {"packages": ("VO_ALICE@-x",)},
        {"packages": ("VO_ALICE@a/../b",)},
        {"packages": ("",)},
    ],
)
def test_a_job_that_would_leave_its_folder_is_refused(values: dict[str, Any]) -> None:
    """With a reason that can be told to its manager: one printable line."""
    with pytest.raises(JobRefused) as caught:
        job(**values)
    assert str(caught.value).isprintable()


@given(st.text(max_size=300))
def test_a_name_that_is_accepted_stays_in_the_folder(name: str) -> None:
    """Whatever the name: it is refused, or it is a plain path beneath the folder."""
    try:
        job(command=name, input_files=(f"in/{name}",), validation_script=name)
    except JobRefused:
        return
    path = os.path.normpath(f"/folder/{name}")
    assert path == f"/folder/{name}" if name else path == "/folder"
    assert not re.search(r"[\0-\x1f\x7f]", name)
    os.fsencode(name)


@given(st.text(max_size=200))
def test_an_id_that_is_accepted_is_a_file_name(name: str) -> None:
    """It can be a folder, an archive, and part of a unit's name."""
    try:
        job(id=name)
    except JobRefused:
        return
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,128}", name)
    assert name not in {".", ".."}


def test_a_package_is_called_as_the_original_agent_calls_it() -> None:
    """Up to the last @ nothing counts, and the first :: is a slash."""
    assert package_name("VO_ALICE@AliRoot::v4-16-Rev-01") == "AliRoot/v4-16-Rev-01"
    assert package_name("gcc/13.2.0") == "gcc/13.2.0"


def test_what_is_shell_text_by_design_is_shown_to_nobody() -> None:
    """People put tokens into environments."""
    assert "geheim" not in repr(job(environment="export TOKEN=geheim", arguments="--password geheim"))
