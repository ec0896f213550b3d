"""The host name and units, beneath a root and on a machine of the test's own."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.contextualize.namespaces import needs_namespaces, run_apart
from ucvm_agent.contextualize.actions import Effect, EnableUnit, RestartUnit, SetHostname
from ucvm_agent.contextualize.actions.units import enable_by_hand, find_install
from ucvm_agent.contextualize.system import System
from ucvm_agent.contextualize.target import Target
from ucvm_agent.errors import ActionError

UNITS = {
    "usr/lib/systemd/system/web.service": "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n"
    "RequiredBy=shop.target\nAlias=www.service\nAlso=web.socket\n",
    "usr/lib/systemd/system/web.socket": "[Socket]\nListenStream=80\n[Install]\nWantedBy=sockets.target\n",
    "usr/lib/systemd/system/getty@.service": "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=getty.target\n"
    "DefaultInstance=tty1\n",
    "usr/lib/systemd/system/mount@.service": "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=%i.target\n",
    "usr/lib/systemd/system/static.service": "[Service]\nExecStart=/bin/true\n# [Install]\n",
}

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to root")


@pytest.fixture
def target(tmp_path: Path) -> Target:
    """A root with some unit files."""
    root = tmp_path / "root"
    for name, text in UNITS.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    masked = root / "etc/systemd/system/masked.service"
    masked.parent.mkdir(parents=True)
    masked.symlink_to("/dev/null")
    return Target(System(root), tmp_path / "runs", "key", set())


def links(root: Path) -> dict[str, str]:
    """Return the links that enable units, with the unit file that each of them leads to."""
    folder = root / "etc/systemd/system"
    found = (path for path in folder.rglob("*") if path.is_symlink())
    return {str(path.relative_to(folder)): path.readlink().name for path in found}


@needs_root
async def test_the_host_name_is_written_once(target: Target) -> None:
    """Beneath a root only the file is written; the machine keeps its name."""
    name = os.uname().nodename
    action = SetHostname(hostname="node-7.example.org")
    assert action.preview(target.system).effect is Effect.CREATE
    await action.apply(target)
    assert (target.system.root / "etc/hostname").read_text() == "node-7.example.org\n"
    assert action.preview(target.system).effect is Effect.NONE
    assert SetHostname(hostname="other").preview(target.system).summary == "node-7.example.org becomes other"
    assert os.uname().nodename == name


@needs_namespaces
def test_the_running_system_gets_its_name_at_once(tmp_path: Path) -> None:
    """On `/`, in namespaces of the test's own, the kernel's host name changes too."""
    program = tmp_path / "rename.py"
    program.write_text(
        "import asyncio, os\nfrom pathlib import Path\n"
        "from ucvm_agent.contextualize.actions import SetHostname\n"
        "from ucvm_agent.contextualize.system import System\n"
        "from ucvm_agent.contextualize.target import Target\n"
        "target = Target(System(Path('/')), Path('/nowhere'), 'key', set())\n"
        "action = SetHostname(hostname='node-7')\n"
        "asyncio.run(action.apply(target))\n"
        "print(os.uname().nodename, Path('/etc/hostname').read_text(), action.preview(target.system).effect)"
    )
    script = f"cp -a /etc {tmp_path}; mount --bind {tmp_path}/etc /etc; exec {sys.executable} {program}"
    answer = run_apart(script, tmp_path)
    assert answer.stderr == ""
    assert answer.stdout == "node-7 node-7\n none\n"


@pytest.mark.parametrize("name", ["", "-a", "a-", "a..b", "a_b", "ä", "x" * 65, "a b", "10.0.0.1", "a.", "a\n"])
def test_what_is_no_host_name_is_refused(name: str) -> None:
    """Host names follow RFC 1123, and the kernel's limit."""
    with pytest.raises(ValueError, match="host name"):
        SetHostname(hostname=name)


@needs_root
@pytest.mark.parametrize("unit", ["web", "web.socket", "getty@.service", "getty@tty5.service", "mount@a-b.service"])
async def test_links_made_by_hand_are_those_of_systemctl(unit: str, target: Target, tmp_path: Path) -> None:
    """Where there is no systemctl the same links are made as it would make."""
    copy = tmp_path / "copy"
    shutil.copytree(target.system.root, copy, symlinks=True)
    await EnableUnit(unit=unit).apply(target)
    assert EnableUnit(unit=unit).preview(target.system).effect is Effect.NONE
    enable_by_hand(System(copy).files, unit if "." in unit else f"{unit}.service")
    assert links(copy) == links(target.system.root)
    assert len(links(copy)) > 1


@needs_root
async def test_a_unit_without_install_section_is_already_enabled(target: Target) -> None:
    """A static unit has nothing that could be enabled."""
    assert EnableUnit(unit="static").preview(target.system).effect is Effect.NONE
    await EnableUnit(unit="static").apply(target)


@pytest.mark.parametrize(("unit", "reason"), [("masked", "is masked"), ("mount@.service", "is a template")])
async def test_a_unit_that_cannot_be_enabled_is_refused(unit: str, reason: str, target: Target) -> None:
    """Masked units, and templates without an instance, are refused in the preview already."""
    assert reason in EnableUnit(unit=unit).preview(target.system).summary
    with pytest.raises(ActionError, match=reason):
        await EnableUnit(unit=unit).apply(target)


async def test_a_missing_unit_may_come_with_an_earlier_action(target: Target) -> None:
    """A unit that is not there is no fault of a preview, but one of the real run."""
    assert EnableUnit(unit="later").preview(target.system).effect is Effect.UPDATE
    with pytest.raises(ActionError, match=r"no unit later\.service"):
        await EnableUnit(unit="later").apply(target)


@pytest.mark.parametrize("unit", ["", "-x", "../x", "a b", "a/b.service", "x" * 300])
def test_what_is_no_unit_name_is_refused(unit: str) -> None:
    """Names of units cannot be options or lead elsewhere."""
    for make in (EnableUnit, RestartUnit):
        with pytest.raises(ValueError, match="name of a unit"):
            make(unit=unit)


def test_install_sections_are_read_with_specifiers(target: Target) -> None:
    """The instance of a template is filled in."""
    install = find_install(target.system.files, "mount@data.service")
    assert install
    assert install.links == ("/etc/systemd/system/data.target.wants/mount@data.service",)


async def test_nothing_is_restarted_where_systemd_does_not_run(target: Target) -> None:
    """Beneath a root there is nothing that could run."""
    action = RestartUnit(unit="web", because=("/etc/web.conf",))
    assert action.preview(target.system).effect is Effect.NONE
    await action.apply(target)
