"""Manual pages and completion: they name what the command line has, and nothing else."""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ucvm_agent import cli, sources
from ucvm_agent.controller import cli as controller

PACKAGING = Path(__file__).parents[2] / "deploy/packaging"
PARSERS = {"ucvm-agent": cli.parser(), "ucvm-controller": controller.parser()}


def commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the commands by name; the empty name stands for none."""
    (choices,) = (action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return {"": parser, **choices}


def options(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        yield from (option for option in action.option_strings if option.startswith("--"))


def completed(program: str, *words: str) -> set[str]:
    """Return what bash offers for the last word."""
    line = shlex.join(words)
    script = (
        f". {PACKAGING}/completion/{program}; COMP_WORDS=({program} {line}); COMP_CWORD={len(words)};"
        f' _{program.replace("-", "_")}; printf "%s\\n" "${{COMPREPLY[@]}}"'
    )
    result = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, check=True)
    return set(result.stdout.split())


@pytest.mark.parametrize("program", PARSERS)
def test_the_manual_names_each_option_and_command(program: str) -> None:
    """Those that there are, and only those; mandoc has no complaint."""
    page = PACKAGING / "man" / f"{program}.8"
    known = commands(PARSERS[program])
    text = page.read_text()
    named = {f"--{name}" for name in re.findall(r"Fl \\-([a-z-]+)", text)}
    assert named == {option for parser in known.values() for option in options(parser)}
    assert [name for name in known if name and not re.search(rf"^\.It Cm {name}\b", text, re.MULTILINE)] == []
    lint = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", page], capture_output=True, text=True, check=False)
    assert lint.stdout == ""


@pytest.mark.parametrize(
    ("program", "command"), [(program, command) for program, parser in PARSERS.items() for command in commands(parser)]
)
def test_bash_completes_each_option_and_command(program: str, command: str) -> None:
    """Those of the command that was typed."""
    known = commands(PARSERS[program])
    words = [command] if command else []
    assert completed(program, *words, "--") == set(options(known[command]))
    if not command:
        assert completed(program, "") - set(options(known[""])) == {name for name in known if name}


def test_bash_completes_what_options_stand_for() -> None:
    """Choices and sources by their names."""
    assert completed("ucvm-agent", "--source", "") == set(sources.names())
    assert completed("ucvm-agent", "apply", "--format", "j") == {"json"}
    assert completed("ucvm-agent", "--log-level", "") == {"debug", "info", "warning", "error"}
    assert completed("ucvm-controller", "serve", "--log-level", "w") == {"warning"}
