"""The script that runs a job's command."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tests.jobs.place import Place
from ucvm_agent.errors import JobError
from ucvm_agent.jobs.running import wrapper
from ucvm_agent.jobs.running.account import Account
from ucvm_agent.jobs.running.job import Job

ME = Account("me", os.geteuid(), os.getegid())


@pytest.fixture
def programs(place: Place, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder where programs of packages are looked for."""
    folder = place.root / "bin"
    folder.mkdir(mode=0o755)
    monkeypatch.setattr(wrapper, "PROGRAM_PATH", str(folder))
    return folder


def install(programs: Path, name: str, script: str) -> None:
    (programs / name).write_text(f"#!/bin/sh\n{script}\n" if script else "")
    (programs / name).chmod(stat.S_IRWXU | 0o055)


async def test_the_wrapper_is_in_the_order_of_the_original(programs: Path) -> None:
    """Packages, environment, folder, rights, command with its arguments."""
    install(programs, "alienv", 'echo "export PACKAGE=$2"')
    job = Job(
        id="1",
        command="run it.sh",
        arguments="-n 100 | sort > 'out put'",
        environment="export A=1; export B=2",
        packages=("VO_ALICE@AliRoot::v4-16-Rev-01",),
    )
    assert (await wrapper.compose(job, Path("/work/it's"), ME)).decode() == (
        "#!/bin/sh\n"
        "# package AliRoot/v4-16-Rev-01\n"
        "export PACKAGE=AliRoot/v4-16-Rev-01\n\n"
        "export A=1; export B=2\n"
        "cd '/work/it'\"'\"'s'\n"
        "chmod a+x 'run it.sh'\n"
        "'./run it.sh' -n 100 | sort > 'out put'\n"
    )


async def test_what_sets_a_package_up_is_taken_byte_by_byte(programs: Path) -> None:
    """Paths need not be UTF-8."""
    install(programs, "alienv", r"printf 'export A=/caf\351\n'")
    text = await wrapper.compose(Job(id="1", command="run", packages=("ROOT::6.32",)), Path("/work"), ME)
    assert b"export A=/caf\xe9\n" in text


async def test_packages_work_in_the_job(place: Place, programs: Path) -> None:
    """With environment modules, too; their program runs with the rights of the job and nothing of the agent's."""
    install(programs, "modulecmd", 'echo "export LOADED=$1:$2:$3 BY=$(id -u) SECRET=$UCVM_XMPP__PASSWORD"')
    os.environ["UCVM_XMPP__PASSWORD"] = "geheim"
    try:
        _, folder = await place.run("echo $LOADED $BY $SECRET", packages=("ROOT::6.32",))
    finally:
        del os.environ["UCVM_XMPP__PASSWORD"]
    assert (folder.path / "stdout").read_text() == f"sh:load:ROOT/6.32 {place.account.uid}\n"


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (None, "^the job needs packages, and this machine has neither alienv nor modulecmd"),
        ("echo no such package >&2; exit 1", "could not be set up: no such package"),
        ("echo it is not there >&2", "could not be set up: it is not there"),
        ("while :; do echo export A=1; echo no >&2; done", "could not be set up: it prints more than 1048576 bytes"),
        ("", "could not be set up: .*alienv cannot be started: Exec format error"),
    ],
)
async def test_a_job_whose_packages_are_missing_is_not_started(
    script: str | None, reason: str, place: Place, programs: Path
) -> None:
    """And the reason says what is missing."""
    if script is not None:
        install(programs, "alienv", script)
    with pytest.raises(JobError, match=reason):
        await place.start("exit 0", packages=("ROOT::6.32",))
