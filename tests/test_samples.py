"""The real contexts through the real command: `ucvm-agent --dry-run --format json --user-data -` beneath an empty root.

What it answers is compared with tests/data/golden/NAME.json, in which each diff is a list of lines. After a change
that is meant, write the files anew, and read the difference before it is committed:

    GOLDEN=write pytest tests/test_samples.py

What each context must come to is asserted beside, so that a wrong golden file cannot pass.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

DATA = Path(__file__).parent / "data"
WORKER = Path(__file__).parents[1] / "examples/contexts/worker.context"
NAMES = sorted(path.stem for path in (DATA / "contexts").glob("*.context"))


def dry_run(name: str) -> dict[str, Any]:
    """Return what the command answers to a sample."""
    return dry_run_of(DATA / "contexts" / f"{name}.context")


@cache
def dry_run_of(path: Path) -> dict[str, Any]:
    """Return what the command answers to a context, with each diff as a list of lines."""
    with TemporaryDirectory() as root:
        result = subprocess.run(
            [sys.executable, "-m", "ucvm_agent", "--dry-run", "--format", "json", "--root", root, "--user-data", "-"],
            input=path.read_bytes(),
            capture_output=True,
            timeout=60,
            check=False,
            env={},
        )
    assert result.stderr == b""
    assert result.returncode == 0
    document: dict[str, Any] = json.loads(result.stdout)
    for action in document["actions"]:
        action["diff"] = action["diff"].splitlines()
    return document


@pytest.mark.parametrize("name", NAMES)
def test_the_plan_is_the_one_on_record(name: str) -> None:
    """Every problem, action and line of a diff."""
    path = DATA / "golden" / f"{name}.json"
    document = dry_run(name)
    if os.environ.get("GOLDEN") == "write":
        path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    assert document == json.loads(path.read_text())


@dataclass(frozen=True)
class Meant:
    """What the writer of a context meant: accounts, CernVM-FS, files, and scripts in their place in the plan."""

    users: tuple[str, ...]
    repositories: str
    files: tuple[str, ...]
    script_position: int | None
    warned_lines: tuple[int, ...]


SITE = ("/etc/cvmfs/default.local", "/etc/vconsole.conf", "/etc/cernvm/site.conf")
MEANT = {
    "atlas": Meant(
        users=("atlas",),
        repositories="atlas.cern.ch,atlas-condb.cern.ch,atlas-nightlies.cern.ch,grid.cern.ch,sft.cern.ch",
        files=(*SITE, "/etc/cernvm/environment.conf", "/etc/profile.d/ucvm-environment.sh"),
        script_position=-1,
        warned_lines=(20, 32),
    ),
    "cms-opendata": Meant(
        users=("cms-opendata",),
        repositories="cms.cern.ch,cms-opendata-conddb.cern.ch",
        files=(*SITE, "/etc/skel/Desktop/CMS OpenData.desktop", "/etc/skel/Desktop/CMS Shell.desktop"),
        script_position=0,
        warned_lines=(118,),
    ),
    "default": Meant(
        users=("user",),
        repositories="sft.cern.ch,grid.cern.ch",
        files=SITE,
        script_position=-1,
        warned_lines=(14,),
    ),
    "sft": Meant(
        users=("user",),
        repositories="sft.cern.ch",
        files=SITE,
        script_position=-1,
        warned_lines=(13,),
    ),
    "squid": Meant(users=(), repositories="", files=(), script_position=None, warned_lines=(2, 4, 11)),
}


@pytest.mark.parametrize("name", NAMES)
def test_the_plan_is_what_the_writer_of_the_context_meant(name: str) -> None:
    """The right users, files, scripts and settings; nothing is an error, and nothing else is warned about."""
    document, meant = dry_run(name), MEANT[name]
    targets = {
        kind: [action["target"] for action in document["actions"] if action["kind"] == kind]
        for kind in ("user", "file", "script", "authorized_keys", "command")
    }
    assert targets["user"] == [*meant.users]
    assert sorted(targets["file"]) == sorted(meant.files)
    assert targets["authorized_keys"] == targets["command"] == []
    assert [problem["line"] for problem in document["problems"] if problem["severity"] != "note"] == [
        *meant.warned_lines
    ]
    assert document["summary"]["errors"] == 0
    if meant.script_position is None:
        assert targets["script"] == []
    else:
        assert targets["script"] == ["user-data"]
        assert document["actions"][meant.script_position]["kind"] == "script"


@pytest.mark.parametrize("name", [name for name in NAMES if MEANT[name].repositories])
def test_the_settings_of_cernvm_fs_are_the_right_ones(name: str) -> None:
    """The repositories with their full names; without a proxy of its own the automatic one."""
    (diff,) = [action["diff"] for action in dry_run(name)["actions"] if action["target"] == SITE[0]]
    settings = [line[1:] for line in diff if line.startswith("+CVMFS_")]
    assert settings[:2] == [
        f'CVMFS_REPOSITORIES="{MEANT[name].repositories}"',
        'CVMFS_HTTP_PROXY="auto;DIRECT"',
    ]


@pytest.mark.parametrize("name", [name for name in NAMES if MEANT[name].users])
def test_the_password_is_set_and_never_shown(name: str) -> None:
    """Those of public contexts are the name of the user, so that only its place can tell."""
    (change,) = [action["diff"] for action in dry_run(name)["actions"] if action["kind"] == "user"]
    (user,) = MEANT[name].users
    assert change == [f"new user, with a password, new home /home/{user}"]


def test_a_context_makes_a_machine_a_worker() -> None:
    """The example: account, controllers and jobs, what the jobs need, and no secret to be seen."""
    document = dry_run_of(WORKER)
    assert document["problems"] == []
    (settings,) = [action["diff"] for action in document["actions"] if action["kind"] == "settings"]
    assert {'+password = "***"', "+enabled = true", '+    "jobs@copilot.example.org",'} <= set(settings)
    assert "/etc/cvmfs/default.local" in {action["target"] for action in document["actions"]}
