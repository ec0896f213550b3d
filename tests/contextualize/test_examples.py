"""The examples for site engineers work as they are printed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contextualize.test_registry import distribution
from ucvm_agent.contextualize.actions import WriteFile
from ucvm_agent.contextualize.plan import make_plan
from ucvm_agent.contextualize.registry import load
from ucvm_agent.contextualize.system import System
from ucvm_agent.settings import Contextualize, Settings
from ucvm_agent.sources.base import Found
from ucvm_agent.userdata.decode import decode

EXAMPLE = Path(__file__).parents[2] / "examples/contextualizer"

CONTEXT = b"""\
[scratch]
path = /data/scratch
[site]
motd = Welcome
"""


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Settings of a machine on which the package is installed and the drop-in is in its place."""
    folder = tmp_path / "contextualizers.d"
    folder.mkdir()
    (folder / "site-motd").write_bytes((EXAMPLE / "drop-in/site-motd").read_bytes())
    (folder / "site-motd").chmod(0o755)
    distribution(tmp_path / "site", "site-scratch", {"scratch": "site_scratch:Scratch"})
    (tmp_path / "site/site_scratch.py").write_bytes((EXAMPLE / "site_scratch.py").read_bytes())
    monkeypatch.syspath_prepend(tmp_path / "site")
    yield Settings(contextualize=Contextualize(dropins=str(folder)))
    sys.modules.pop("site_scratch", None)


def test_package_and_drop_in_take_part(settings: Settings, tmp_path: Path) -> None:
    """A context that uses both is planned without a problem."""
    loaded = load(settings)
    assert loaded.problems == ()
    (tmp_path / "root/etc").mkdir(parents=True)
    (tmp_path / "root/etc/hostname").write_text("node\n")
    ours = [each for each in loaded.contextualizers if each.name in ("scratch", "site-motd")]
    plan = make_plan(decode(Found("test", "test", user_data=CONTEXT)), System(tmp_path / "root"), ours)
    assert plan.problems == ()
    assert [step.contextualizer for step in plan.steps] == ["scratch", "site-motd"]
    assert plan.steps[1].action == WriteFile(path="/etc/motd", content=b"Welcome\nThis is node.\n", mode=0o644)


def test_the_examples_own_test_passes() -> None:
    """A site engineer who copies the folder starts from a green test."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."]
    done = subprocess.run(command, cwd=EXAMPLE, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout
