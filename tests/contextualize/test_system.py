"""The system is read as it is, beneath its root, without privilege and without complaint."""

from __future__ import annotations

import os
import pwd
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ucvm_agent.contextualize.system import Group, System, User
from ucvm_agent.errors import UnsafePath


def put(root: Path, path: str, content: str | bytes, mode: int = 0o644) -> None:
    """Put a file beneath the root."""
    place = root / path.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content.encode() if isinstance(content, str) else content)
    place.chmod(mode)


def test_only_the_running_system_is_live(tmp_path: Path) -> None:
    """A link to / is / as well."""
    (tmp_path / "link").symlink_to("/")
    assert System(Path("/")).live
    assert System(tmp_path / "link").live
    assert not System(tmp_path).live


def test_facts_of_the_distribution_come_from_beneath_the_root(tmp_path: Path) -> None:
    """os-release may be quoted or elsewhere, and the host's name is not that of the machine we run on."""
    put(
        tmp_path, "/usr/lib/os-release", '# comment\nNAME="AlmaLinux"\nID="almalinux"\nVERSION_ID=\'9.4\'\n\nodd line\n'
    )
    put(tmp_path, "/etc/hostname", "# comment\n\nvm17.cern.ch\n")
    facts = System(tmp_path).facts
    assert (facts.os_id, facts.os_version, facts.hostname) == ("almalinux", "9.4", "vm17.cern.ch")
    assert not facts.has_systemd


def test_facts_of_the_running_system_are_the_kernels() -> None:
    """The memory is in bytes."""
    facts = System(Path("/")).facts
    assert facts.hostname == os.uname().nodename
    assert facts.machine == os.uname().machine
    assert facts.cpus >= 1
    assert facts.memory > 64 * 1024**2
    assert facts.has_systemd == Path("/run/systemd/system").is_dir()


def test_an_empty_root_has_no_facts_but_those_of_the_kernel(tmp_path: Path) -> None:
    """Nothing fails."""
    facts = System(tmp_path).facts
    assert (facts.os_id, facts.os_version, facts.hostname) == ("linux", "", "")


def test_accounts_are_read_beneath_the_root_and_bad_lines_are_skipped(tmp_path: Path) -> None:
    """Too few fields, no number, numbers that the kernel does not have, bytes that are no text."""
    put(
        tmp_path,
        "/etc/passwd",
        b"atlas\natlas:x:no:1:::\natlas:x:4294967295:1:::\natlas:x:" + b"9" * 5000 + b":1:::\n+::::::\n"
        b"caf\xe9:x:7:7:::\natlas:x:1001:1002:ATLAS \xe2\x80\xa8 user:/home/atlas:/bin/bash\nnolf:x:5:5::/:",
    )
    put(tmp_path, "/etc/group", "atlas:x\natlas:x:1002:alice,bob,\nempty:x:3:\n")
    system = System(tmp_path)
    assert system.user("atlas") == User("atlas", 1001, 1002, "ATLAS \u2028 user", "/home/atlas", "/bin/bash")
    assert system.user("nolf") == User("nolf", 5, 5, "", "/", "")
    assert system.group("atlas") == Group("atlas", 1002, ("alice", "bob"))
    assert system.group("empty") == Group("empty", 3, ())
    assert system.user("root") is None
    assert system.group("root") is None


def test_accounts_are_read_afresh(tmp_path: Path) -> None:
    """Actions change them."""
    system = System(tmp_path)
    assert system.user("late") is None
    put(tmp_path, "/etc/passwd", "late:x:1:1:::\n")
    assert system.user("late") is not None


def test_the_running_system_knows_its_users() -> None:
    """Those of the files and of NSS; what cannot be a name is nobody's."""
    known = pwd.getpwuid(0)
    user = System(Path("/")).user(known.pw_name)
    assert user is not None
    assert (user.uid, user.home) == (0, known.pw_dir)
    assert System(Path("/")).user("no such user") is None
    assert System(Path("/")).group("no\0group") is None


@given(content=st.binary(max_size=200), name=st.text(max_size=10))
def test_no_account_file_is_too_broken_to_read(content: bytes, name: str) -> None:
    """Whatever is in the files, a user is found or not."""
    with tempfile.TemporaryDirectory() as folder:
        for path in ("/etc/passwd", "/etc/group", "/etc/os-release", "/etc/hostname"):
            put(Path(folder), path, content)
        system = System(Path(folder))
        system.user(name)
        system.group(name)
        assert system.facts.os_id is not None


def test_a_program_is_found_beneath_the_root_through_merged_directories(tmp_path: Path) -> None:
    """Links are resolved beneath the root; files that cannot be executed are no programs."""
    put(tmp_path, "/usr/bin/vim.basic", "", 0o755)
    put(tmp_path, "/usr/bin/data", "", 0o644)
    put(tmp_path, "/opt/tool", "", 0o755)
    (tmp_path / "bin").symlink_to("usr/bin")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/vim").symlink_to("/usr/bin/vim.basic")
    (tmp_path / "usr/bin/vim").symlink_to("/etc/vim")
    (tmp_path / "usr/bin/host").symlink_to("/bin/sh")
    system = System(tmp_path)
    assert system.program("vim") == "/usr/bin/vim"
    assert system.program("/bin/vim") == "/bin/vim"
    assert system.program("/opt/tool") == "/opt/tool"
    for name in ("data", "host", "tool", "missing"):
        assert system.program(name) is None


def test_what_may_not_be_read_counts_as_not_there(tmp_path: Path) -> None:
    """A loop of links, a missing root: the plan of a laptop user goes on."""
    (tmp_path / "loop").symlink_to("loop")
    for system, path in ((System(tmp_path), "/loop/x"), (System(tmp_path / "missing"), "/etc/passwd")):
        assert system.status(path) is None
        assert system.read(path) is None
        assert system.user("root") is None


@pytest.mark.parametrize("look", [System.read, System.status])
def test_a_path_that_is_none_is_the_callers_mistake(look: Callable[[System, str], object], tmp_path: Path) -> None:
    """It is not taken for a file that is not there."""
    with pytest.raises(UnsafePath):
        look(System(tmp_path), "/../etc/passwd")
