"""Scripts and commands."""

from __future__ import annotations

from pathlib import Path

from contextualizers.scripts import Scripts, ScriptsBefore
from tests.contextualizers.ask import ask
from ucvm_agent.contextualize.actions import RunCommand, RunScript
from ucvm_agent.contextualize.base import Frequency
from ucvm_agent.contextualize.system import System
from ucvm_agent.sources.base import Metadata

INSTANCE = Metadata(instance_id="i-0123")
ENVIRONMENT = (("INSTANCE_ID", "i-0123"),)
SAMPLES = Path(__file__).parent.parent / "data" / "contexts"


def test_commands_run_in_their_order(system: System) -> None:
    """A text goes to a shell as it is, a list is never seen by one; the instance is told."""
    answer = ask(
        Scripts(),
        """
        #cloud-config
        runcmd:
          - echo "$HOME; 'x'"
          - [touch, /tmp/a b, 7]
        """,
        system,
        INSTANCE,
    )
    assert answer.actions == [
        RunCommand(argv=("/bin/sh", "-c", "echo \"$HOME; 'x'\""), environment=ENVIRONMENT),
        RunCommand(argv=("touch", "/tmp/a b", "7"), environment=ENVIRONMENT),
    ]


def test_boot_commands_run_at_each_boot_before_all_else(system: System) -> None:
    """A single text is one command."""
    answer = ask(ScriptsBefore(), "#cloud-config\nbootcmd: modprobe fuse\n", system)
    assert answer.actions == [RunCommand(argv=("/bin/sh", "-c", "modprobe fuse"), frequency=Frequency.BOOT)]
    assert ask(Scripts(), "#cloud-config\nbootcmd: modprobe fuse\n", system).actions == []


def test_a_wrong_command_does_not_stop_the_others(system: System) -> None:
    """It is an error with its own place."""
    answer = ask(Scripts(), "#cloud-config\nruncmd:\n  - 5\n  - []\n  - echo\n  - [a, [b]]\n", system)
    assert [action.target for action in answer.actions] == ["/bin/sh -c echo"]
    message = "expected a command as text (for /bin/sh), or as a list of a program and its arguments"
    assert answer.texts == [f"error {line}: runcmd[{line - 2}]: {message}" for line in (3, 4, 6)]


def test_words_that_yaml_changes_are_told(system: System) -> None:
    """They reach the program as YAML reads them, as with cloud-init; a warning at each tells what to do."""
    commands = "[[chmod, 0755, /x], [echo, no, 'no', 7, 1.5, 1.50], [mkdir, -1, 0x10 ]]"
    answer = ask(Scripts(), f"#cloud-config\nruncmd: {commands}\n", system)
    assert [action.target for action in answer.actions] == [
        "chmod 493 /x",
        "echo False no 7 1.5 1.5",
        "mkdir -1 16",
    ]
    number = "is a number in YAML, so the command gets it written otherwise"
    assert answer.texts == [
        f"warning 2: runcmd[1][2]: {number}",
        "warning 2: runcmd[2][2]: is a truth value in YAML, so the command gets the word False",
        f"warning 2: runcmd[2][6]: {number}",
        f"warning 2: runcmd[3][3]: {number}",
    ]
    (told,) = ask(ScriptsBefore(), "#cloud-config\nbootcmd:\n- - setenforce\n  - off\n", system).problems
    assert (told.place.line, told.place.column, told.hint) == (4, 5, "put it in quotes")


def test_scripts_run_before_or_after_as_their_first_line_says(system: System) -> None:
    """Each script of a real context runs in exactly one of the two places."""
    after = (SAMPLES / "atlas.context").read_text()
    before = (SAMPLES / "cms-opendata.context").read_text()
    for text, right, wrong in ((after, Scripts(), ScriptsBefore()), (before, ScriptsBefore(), Scripts())):
        (script,) = ask(right, text, system, INSTANCE).actions
        assert isinstance(script, RunScript)
        assert (script.frequency, script.environment) == (Frequency.INSTANCE, ENVIRONMENT)
        assert script.text.startswith(b"#!/bin/sh\n")
        assert ask(wrong, text, system, INSTANCE).actions == []
