"""What a plan needs, and nobody brings: the writer is told before it fails on the machine."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from contextualizers.scripts import Scripts
from contextualizers.users import Users
from contextualizers.write_files import WriteFiles
from tests.contextualizers.ask import furnish
from ucvm_agent.contextualize.plan import make_plan
from ucvm_agent.contextualize.system import System
from ucvm_agent.sources.base import Found
from ucvm_agent.userdata.context import Severity
from ucvm_agent.userdata.decode import decode

FILES = {
    "/etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
    "/etc/group": "root:x:0:\nusers:x:100:\n",
    "/bin/sh": "",
}


@pytest.fixture
def system(tmp_path: Path) -> System:
    return furnish(tmp_path, FILES)


def notes(text: str, system: System) -> list[str]:
    """Return the notes on a user-data as `line: message`."""
    context = decode(Found("file", "test", dedent(text).lstrip("\n").encode()))
    plan = make_plan(context, system, [Scripts(), Users(), WriteFiles()])
    found = [each for each in plan.problems if each.severity is Severity.NOTE]
    return [f"{each.place.line}: {each.message}" for each in found]


def test_an_interpreter_that_is_not_there(system: System) -> None:
    """As it is written in the first line of a script."""
    found = notes("#!/usr/bin/pyhton -u\n", system)
    assert found == ["1: user-data: its interpreter /usr/bin/pyhton does not exist here"]
    assert notes("#!/bin/sh\n", system) == []
    assert notes("#!sh\n", system) == ["1: user-data: its interpreter sh does not exist here"]


def test_a_login_shell_that_is_not_there(system: System) -> None:
    """Nobody can log in with it; `nologin` is to let nobody in, and may be missing."""
    text = """
        #cloud-config
        users:
        - {name: alice, shell: /bin/zsh}
        - {name: bob, shell: /bin/sh}
        - {name: eve, shell: /usr/sbin/nologin}
        - {name: ann, shell: /opt/shell}
        write_files:
        - {path: /opt/shell, content: x, permissions: "0755"}
    """
    assert notes(text, system) == ["3: alice: the shell /bin/zsh does not exist here"]


FILE_OF_NOBODY = """
    #cloud-config
    write_files:
    - {path: /etc/a, content: a}
    - path: /etc/b
      content: b
      owner: bbo:uesrs
"""


def test_an_owner_or_a_group_that_is_not_there(system: System) -> None:
    """Each at the line of its owner."""
    assert notes(FILE_OF_NOBODY, system) == [
        "6: /etc/b: there is no user bbo here",
        "6: /etc/b: there is no group uesrs here",
    ]


def test_what_the_same_plan_makes(system: System) -> None:
    """A user of this context with a group of the same name, and an interpreter that is written before it is used."""
    text = """
        Content-Type: multipart/mixed; boundary=x

        --x
        Content-Type: text/cloud-config

        users:
        - name: alice
        write_files:
        - {path: /etc/b, owner: "alice:alice"}
        - {path: /opt/run, permissions: "0755", content: "x"}

        --x
        Content-Type: text/x-shellscript

        #!/opt/run
        --x--
    """
    assert notes(text, system) == []


def test_where_a_system_has_yet_to_come(tmp_path: Path) -> None:
    """Beneath an empty root, everything would be missing."""
    assert notes(FILE_OF_NOBODY, System(tmp_path)) == notes("#!/bin/sh\n", System(tmp_path)) == []
