"""site.conf, environment, services and the boot command of `[cernvm]`."""

from __future__ import annotations

import subprocess
from pathlib import Path

from contextualizers.cernvm import ENVIRONMENT, PROFILE, SITE, CernVM
from tests.contextualizers.ask import ask
from ucvm_agent.contextualize.actions import EnableUnit, RunCommand, WriteFile
from ucvm_agent.contextualize.base import Frequency
from ucvm_agent.contextualize.system import System

SAMPLES = Path(__file__).parent.parent / "data" / "contexts"


def added(path: str, text: str) -> WriteFile:
    """Return the action that adds this text."""
    return WriteFile(path=path, content=text.encode(), block="cernvm")


def test_a_real_context_gets_the_files_that_its_script_sources(system: System) -> None:
    """The ATLAS context: quoted, without the password."""
    root = "/cvmfs/atlas.cern.ch/repo/ATLASLocalRootBase"
    answer = ask(CernVM(), (SAMPLES / "atlas.context").read_text(), system)
    assert answer.actions == [
        added(
            SITE,
            'CERNVM_ORGANISATION="ATLAS"\nCERNVM_USER="atlas"\nCERNVM_USER_GROUP="atlas"\n'
            'CERNVM_USER_SHELL="/bin/bash"\nCERNVM_ENVIRONMENT_VARS="+ATLAS_LOCAL_ROOT_BASE"\n'
            'CERNVM_EDITION="Desktop"\nCERNVM_START_XDM="on"\nCERNVM_AUTOLOGIN="on"\n'
            'CERNVM_SCREEN_RES="1280x700"\nCERNVM_KEYBOARD="us"\n',
        ),
        added(ENVIRONMENT, f"export ATLAS_LOCAL_ROOT_BASE={root}\n"),
        added(PROFILE, f"export ATLAS_LOCAL_ROOT_BASE={root}\n"),
    ]
    assert answer.texts == []


def test_without_the_section_nothing_is_written(system: System) -> None:
    """A context of another kind leaves no CernVM files behind."""
    assert ask(CernVM(), "#cloud-config\nhostname: web\n", system).actions == []


def test_services_are_enabled_and_the_command_runs_at_each_boot(system: System) -> None:
    """A unit may be named in full; the command runs as its user."""
    answer = ask(
        CernVM(), "[cernvm]\nservices=httpd,ntpd.socket\ncontextualization_command=alice:./start --all=yes:1\n", system
    )
    assert answer.actions[1:] == [
        EnableUnit(unit="httpd.service"),
        EnableUnit(unit="ntpd.socket"),
        RunCommand(argv=("runuser", "-l", "alice", "-c", "./start --all=yes:1"), frequency=Frequency.BOOT),
    ]


def test_any_value_of_the_environment_means_itself(system: System) -> None:
    """A shell that reads the file gets the very values, and runs nothing."""
    answer = ask(CernVM(), "[cernvm]\nenvironment=A=x y;z,B='$(touch /tmp/no)',C=a=b,D=\n", system)
    (profile,) = (action for action in answer.actions if action.target == PROFILE)
    assert isinstance(profile, WriteFile)
    script = profile.content + b'printf "%s|" "$A" "$B" "$C" "$D"'
    output = subprocess.run(["/bin/sh"], input=script, capture_output=True, check=True, timeout=10).stdout
    assert output == b"x y;z|'$(touch /tmp/no)'|a=b||"


def test_mistakes_are_told_and_the_rest_is_done(system: System) -> None:
    """One wrong value does not take the others with it."""
    text = "[cernvm]\nservices=a b\nenvironment=1A=x\norganisations=a$b\ncontextualization_command=whoami\n"
    answer = ask(CernVM(), text, system)
    assert answer.texts == [
        "error 2: [cernvm] services: expected the name of a service, not 'a b'",
        "error 3: [cernvm] environment: expected VAR=value between the commas, not '1A'",
        "error 4: [cernvm] organisations: a shell reads this value and would act on $",
        "error 5: [cernvm] contextualization_command: expected user:command",
    ]
    assert answer.actions == [added(SITE, 'CERNVM_USER_SHELL="/bin/bash"\nCERNVM_AUTOLOGIN="off"\n')]
