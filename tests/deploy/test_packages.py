"""The packages on a machine: installed, used, installed again, removed and purged.

The machine is this one, under an overlay that the test throws away.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

import ucvm_agent
from tests.contextualize.namespaces import needs_namespaces, run_apart
from ucvm_agent.cli import parser as agent
from ucvm_agent.controller import cli as controller

REPOSITORY = Path(__file__).parents[2]
VERSION = ucvm_agent.__version__

pytestmark = [needs_namespaces, pytest.mark.timeout(600)]

MACHINE = """
mkdir -p {folder}/machine
mount -t tmpfs machine {folder}/machine
cd {folder}/machine
mkdir upper work root
mount -t overlay -o lowerdir=/,upperdir=upper,workdir=work overlay root
mount --bind /proc root/proc
mount --rbind /dev root/dev
mount -t tmpfs run root/run
mkdir -p root/packages
mount --bind {packages} root/packages
chroot root env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin sh -exc '{script}' </dev/null
"""

USED = """
echo "# ours" >> /etc/ucvm-agent/agent.toml
ucvm-agent --version
ucvm-agent --dry-run --user-data /packages/context
ucvm-agent apply --user-data /packages/context
cat /etc/hostname /srv/template /srv/ran
ucvm-agent status --json > /srv/before
"""

CONTEXT = """\
## template: jinja
#cloud-config
hostname: from-the-package
write_files:
  - {path: /srv/template, content: "{{ 6 * 7 }}\\n"}
runcmd:
  - echo a command ran > /srv/ran
"""

COMPLETE = """\
. /usr/share/bash-completion/completions/ucvm-agent
complete() {
  COMP_WORDS=(ucvm-agent "$@") COMP_CWORD=$#
  _shtab_ucvm_agent
  echo "completed: ${COMPREPLY[*]}"
}
complete --source open
complete apply --loca
"""

CLIENTS = """\
import sys
import boto3
for name in sys.argv[1:]:
    boto3.client(name, region_name="eu-west-1")
"""

KEPT = """
grep "# ours" /etc/ucvm-agent/agent.toml
ucvm-agent status --json > /srv/after
cmp /srv/before /srv/after
"""


@dataclass(frozen=True)
class Packages:
    """What was built, in `folder`."""

    folder: Path

    def on_a_machine(self, script: str, folder: Path) -> str:
        """Run a shell script as root of a machine that has the packages in /packages; return what it prints.

        The script has no single quotes.
        """
        assert "'" not in script
        result = run_apart(MACHINE.format(folder=folder, packages=self.folder, script=script), folder)
        assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
        return result.stdout

    def files(self, *command: str) -> set[str]:
        """Return the files that a command lists: without folders, and with those of systemd where they are at last."""
        listed = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=True).stdout
        files = set(re.findall(r"^(?![dD]).*?\.?(/(?:etc|lib|usr)/\S+)", listed, re.MULTILINE))
        return {re.sub(r"^/lib/", "/usr/lib/", file).removesuffix(".gz") for file in files}


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Packages:
    """Build them once, whichever of the workers is the first."""
    above = tmp_path_factory.getbasetemp()
    folder = (above.parent if "PYTEST_XDIST_WORKER" in os.environ else above) / "packages"
    with folder.with_name("packages.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            build(folder.with_name("packages.new"))
            folder.with_name("packages.new").rename(folder)
    return Packages(folder)


def build(folder: Path) -> None:
    script = REPOSITORY / "deploy/packaging/build.sh"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = [str(script), "--fast", str(folder), "deb", "rpm"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    (folder / "clients.py").write_text(CLIENTS)
    (folder / "complete.sh").write_text(COMPLETE)
    (folder / "context").write_text(CONTEXT)


def test_a_debian_package_from_installation_to_purge(packages: Packages, tmp_path: Path) -> None:
    """It is enabled but not started, and works; upgrade and removal keep state and settings, a purge leaves nothing."""
    agent = f"/packages/ucvm-agent_{VERSION}_*.deb"
    printed = packages.on_a_machine(
        f"""
        export DEBIAN_FRONTEND=noninteractive
        dpkg --install {agent}
        ls /etc/systemd/system/*.wants/ucvm-*
        id ucvm-job
        stat -c "%a %n" /var/lib/ucvm-agent /var/lib/ucvm-jobs /etc/ucvm-agent/agent.toml
        {USED}
        dpkg --install {agent} /packages/ucvm-controller_*.deb
        {KEPT}
        ucvm-controller --version
        dpkg --verify ucvm-agent ucvm-controller
        dpkg --remove ucvm-controller ucvm-agent
        test ! -e /usr/lib/ucvm-agent
        ls /var/lib/ucvm-agent/state.db
        dpkg --install {agent}
        {KEPT}
        dpkg --purge ucvm-agent ucvm-controller
        for left in /etc/ucvm-agent /usr/lib/ucvm-agent /var/lib/ucvm-agent /var/lib/ucvm-jobs; do test ! -e $left; done
        ! ls /etc/systemd/system/*/ucvm-* /etc/systemd/system/ucvm-*
        """,
        tmp_path,
    )
    wanted = ("sysinit.target.wants/ucvm-agent-local", "multi-user.target.wants/ucvm-agent", "ucvm-contextualized")
    assert all(f"{name}.service\n" in printed for name in wanted)
    assert "700 /var/lib/ucvm-agent\n711 /var/lib/ucvm-jobs\n644 /etc/ucvm-agent/agent.toml\n" in printed
    assert f"ucvm-agent {VERSION}\n" in printed
    assert "from-the-package\n42\na command ran\n" in printed
    assert "??5??????" not in printed.replace("??5?????? c /etc/ucvm-agent/agent.toml", "")


def test_an_rpm_has_the_same_files_and_keeps_the_state(packages: Packages, tmp_path: Path) -> None:
    """What is installed, enabled, kept and removed is what the other package does."""
    for name in ("ucvm-agent", "ucvm-controller"):
        ours = packages.files("rpm", "--query", "--list", "--verbose", "--package", f"{name}-{VERSION}.x86_64.rpm")
        theirs = packages.files("dpkg-deb", "--contents", f"{name}_{VERSION}_amd64.deb")
        assert ours == {file for file in theirs if not file.startswith("/usr/share/doc/")}
    agent = f"/packages/ucvm-agent-{VERSION}.*.rpm"
    printed = packages.on_a_machine(
        f"""
        rpm --install --nodeps {agent}
        ls /etc/systemd/system/*.wants/ucvm-*
        id ucvm-job
        {USED}
        rpm --upgrade --force --nodeps {agent}
        {KEPT}
        rpm --verify --nodeps ucvm-agent || :
        rpm --erase ucvm-agent
        test ! -e /usr/lib/ucvm-agent -a ! -e /etc/ucvm-agent/agent.toml
        ! ls /etc/systemd/system/*.wants/ucvm-*
        ls /var/lib/ucvm-agent/state.db /etc/ucvm-agent/agent.toml.rpmsave
        """,
        tmp_path,
    )
    assert "/etc/systemd/system/multi-user.target.wants/ucvm-agent.service" in printed
    assert "from-the-package\n42\na command ran\n" in printed


def test_manuals_and_completion_know_the_command_line(packages: Packages, tmp_path: Path) -> None:
    """They are made of it when the package is; what they add is right for troff."""
    printed = packages.on_a_machine(
        """
        dpkg --unpack /packages/*.deb
        for program in ucvm-agent ucvm-controller; do
          zcat /usr/share/man/man8/$program.8.gz | man --local-file --warnings - 2>&1
        done
        bash /packages/complete.sh
        """,
        tmp_path,
    )
    for parser in (agent.parser(), controller.parser()):
        (commands,) = (action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction))
        assert [name for name in commands if f"{parser.prog} {name}\n" not in printed] == []
    assert not re.search(r":\d+: warning", printed)
    assert "completed: opennebula openstack\ncompleted: --local\n" in printed


def test_the_package_has_what_is_asked_of_aws(packages: Packages, tmp_path: Path) -> None:
    """Of the services of AWS, those that the program names anywhere; of all others it has none."""
    sources = "".join(path.read_text() for path in (REPOSITORY / "ucvm_agent").rglob("*.py"))
    named = set(re.findall(r"""(?:_call|client)\(\s*"([a-z0-9-]+)\"""", sources))
    assert {"s3", "ssm", "secretsmanager"} <= named
    packages.on_a_machine(
        f"""
        dpkg --unpack /packages/ucvm-agent_*.deb
        /usr/lib/ucvm-agent/bin/python3 -I /packages/clients.py sts {" ".join(sorted(named))}
        test $(ls -d /usr/lib/ucvm-agent/lib/python3*/site-packages/botocore/data/*/ | wc -l) -lt 10
        """,
        tmp_path,
    )
