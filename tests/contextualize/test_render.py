"""What `--dry-run` prints, held in files that a person would read: tests/data/render/.

`UCVM_REWRITE=1 pytest tests/contextualize/test_render.py` writes them anew; read the difference before a commit.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from tests.contextualize.stand_ins import Deed, contextualizer, named, written
from ucvm_agent.contextualize.actions import Effect, MakeDirectory, MakeLink, RestartUnit, WriteFile
from ucvm_agent.contextualize.apply import Applied, Failure, apply
from ucvm_agent.contextualize.plan import Plan, make_plan
from ucvm_agent.contextualize.preview import preview
from ucvm_agent.contextualize.render_json import Document, render_json
from ucvm_agent.contextualize.render_text import render_text
from ucvm_agent.contextualize.system import System
from ucvm_agent.store.journal import SavedJournal
from ucvm_agent.store.store import Store
from ucvm_agent.userdata.context import Part, Place, Problem, Severity

GOLDEN = Path(__file__).parent.parent / "data/render"

TEXT = """\
#cloud-config
hostnam: node1
users:
  - name: atlas
    sudo: maybe
"""


@pytest.fixture
def system(tmp_path: Path) -> System:
    root = tmp_path / "root"
    (root / "etc/cvmfs").mkdir(parents=True)
    (root / "etc/passwd").write_text(f"root:x:{os.geteuid()}:0::/root:/bin/sh\n")
    (root / "etc/group").write_text(f"root:x:{os.getegid()}:\n")
    (root / "etc/motd").write_text("Welcome\nto this machine\n")
    (root / "etc/motd").chmod(0o644)
    (root / "etc/link").symlink_to("motd")
    return System(root)


@pytest.fixture
def plan(system: System) -> Plan:
    context = written(
        {},
        parts=(Part("user-data", "text/cloud-config", TEXT),),
        problems=(
            Problem(
                Severity.ERROR,
                Place("user-data", 5, 11),
                "users[1].sudo: expected a rule of sudoers, such as the one that lets a user do everything as anybody",
                "write ALL=(ALL) NOPASSWD:ALL, or false",
            ),
            Problem(Severity.WARNING, Place("user-data", 2, 1), "unknown key hostnam", "did you mean hostname?"),
            Problem(Severity.NOTE, Place("user-data"), "a clear \x1b[31mescape"),
        ),
    )
    return make_plan(
        context,
        system,
        [
            contextualizer(
                "files",
                [
                    WriteFile(path="/etc/motd", content=b"Welcome\nto that machine\n"),
                    WriteFile(path="/etc/hosts.long", content=b"".join(b"10.0.0.%d\n" % n for n in range(60))),
                    WriteFile(path="/etc/secret", content=b"hunter2\n", mode=0o600),
                    WriteFile(path="/etc/escape", content=b"\x1b[31mred\n"),
                    MakeDirectory(path="/srv/data"),
                    MakeLink(path="/etc/link", to="motd"),
                    MakeLink(path="/etc/passwd-", to="passwd"),
                ],
            ),
            contextualizer("nothing", [Deed(name="so", effect=Effect.NONE), Deed(name="too", effect=Effect.NONE)]),
            contextualizer("scripts", [Deed(name="the script and " + "its very long name " * 8)], after=["files"]),
        ],
    )


def check(name: str, shown: str) -> None:
    path = GOLDEN / name
    if os.environ.get("UCVM_REWRITE"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(shown)
    assert shown == path.read_text()


def test_text_is_for_people(plan: Plan, system: System) -> None:
    """Problems with their lines, then what would be done, then one line; it fits on a terminal, and hides secrets."""
    shown = render_text(preview(plan, system), color=False)
    check("plan.txt", shown)
    assert "\x1b" not in shown
    assert "hunter2" not in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_colour_adds_nothing_but_colour(plan: Plan, system: System) -> None:
    shown = render_text(preview(plan, system), color=True)
    assert re.sub(r"\x1b\[\d+m", "", shown) == render_text(preview(plan, system), color=False)
    assert "\x1b[31m error:\x1b[0m" in shown


def test_json_is_for_programs(plan: Plan, system: System) -> None:
    shown = render_json(preview(plan, system, source="file: my.context"))
    check("plan.json", shown)
    assert Document.model_validate_json(shown).summary.errors == 1
    assert "hunter2" not in shown
    assert list(json.loads(shown)) == ["source", "context", "problems", "actions", "summary"]


def test_an_empty_plan_is_one_line(system: System) -> None:
    assert render_text(preview(make_plan(written({}), system, []), system), color=False) == "nothing to do\n"


def test_what_a_failed_script_has_printed_keeps_its_lines(system: System) -> None:
    """Beneath what it belongs to; what would steer the terminal is shown."""
    reason = "it ended with exit status 3, after printing:\none\n\x1b[2Jtwo"
    applied = Applied(0, 0, 1, 0, (Failure("scripts", "script", "a", reason, 0.1),), 0.1)
    text = render_text(preview(make_plan(written({}), system, []), system), applied, color=False)
    assert "after printing:\n        one\n        \\x1b[2Jtwo\n" in text


def test_a_preview_changes_nothing(plan: Plan, system: System) -> None:
    def everything() -> list[tuple[str, int]]:
        return sorted((str(path), path.lstat().st_mtime_ns) for path in system.root.rglob("*"))

    before = everything()
    preview(plan, system)
    assert everything() == before


async def test_what_the_journal_knows_as_done_is_not_shown_again(plan: Plan, system: System, tmp_path: Path) -> None:
    """Even if somebody has changed it since; read while an agent has the state open, or without one."""
    store = Store(tmp_path / "state/state.db", "boot-1")
    await apply(plan, system, store, parallel=4, state_dir=tmp_path / "state")
    (system.root / "etc/motd").write_text("something else\n")
    journal = SavedJournal(store.path, "boot-1")
    for known in (store, journal):
        assert preview(plan, system, known).effects == {Effect.NONE: len(plan.steps)}
    journal.close()
    store.close()
    assert preview(plan, system).effects[Effect.UPDATE] == 1


def test_a_restart_is_shown_only_if_its_file_changes(system: System) -> None:
    def effects(content: bytes) -> list[Effect]:
        made = contextualizer(
            "a",
            [
                WriteFile(path="/etc/motd", content=content),
                RestartUnit(unit="motd.service", because=("/etc/motd",)),
            ],
        )
        shown = preview(make_plan(written({}), system, [made]), system)
        return [change.effect for change in shown.changes]

    assert effects(b"Welcome\nto this machine\n") == [Effect.NONE, Effect.NONE]
    assert effects(b"another\n")[0] is Effect.UPDATE


def test_what_would_fail_says_so(system: System) -> None:
    """An action that cannot even be previewed does not take the rest of the preview with it."""
    made = contextualizer("a", [Broken(name="x", gives=named("path", "/x")), Deed(name="y")])
    shown = render_text(preview(make_plan(written({}), system, [made]), system), color=False)
    assert "deed x: would fail: ZeroDivisionError" in shown
    assert "do y" in shown


class Broken(Deed):
    def preview(self, system: System) -> None:  # type: ignore[override]  # this is the defect
        raise ZeroDivisionError
