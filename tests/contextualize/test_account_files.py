"""Account files: no line is lost, whoever wrote them, is at them at the same time, or is killed meanwhile."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from tests.contextualize.account_root import HASH, complaints, content, needs_root, settle
from ucvm_agent.contextualize.actions import Effect, EnsureGroup, EnsureUser, accounts
from ucvm_agent.contextualize.actions.account_files import Table
from ucvm_agent.contextualize.system import System
from ucvm_agent.contextualize.target import Target
from ucvm_agent.errors import ActionError

SAMPLES = Path(__file__).parents[1] / "data" / "accounts"


@needs_root
async def test_modes_of_account_files_stay(target: Target) -> None:
    """Replacing an account file changes neither its mode nor leaves anything beside it."""
    await EnsureUser(name="atlas").apply(target)
    etc = target.system.root / "etc"
    modes = {name: (etc / name).stat().st_mode & 0o777 for name in ("passwd", "group", "shadow", "gshadow")}
    assert modes == {"passwd": 0o644, "group": 0o644, "shadow": 0o640, "gshadow": 0o600}
    assert sorted(path.name for path in etc.iterdir()) == [".pwd.lock", "group", "gshadow", "passwd", "shadow", "skel"]


@needs_root
async def test_real_account_files_with_defects_keep_every_other_line(tmp_path: Path) -> None:
    """Account files of a real VM, which the checkers complain about, get no other complaint and lose no line."""
    root = tmp_path / "root"
    shutil.copytree(SAMPLES / "rw", root)
    before = {name: (root / "etc" / name).read_bytes() for name in ("passwd", "group", "shadow")}
    known = complaints(root)
    target = Target(System(root), tmp_path / "runs", "key", set())
    await settle(target, EnsureGroup(name="wheel", members=("vnicolao",)), EnsureUser(name="cms", groups=("wheel",)))
    assert not complaints(root) - known
    for name, old in before.items():
        lines = (root / "etc" / name).read_bytes().splitlines()
        kept = [line for line in lines if line.partition(b":")[0] not in (b"cms", b"wheel")]
        assert kept == [line for line in old.splitlines() if not line.startswith(b"wheel:")]
    assert "wheel:x:12:vnicolao,cms\n" in (root / "etc" / "group").read_text()
    assert not (root / "etc" / "gshadow").exists()


@needs_root
async def test_an_empty_root_gets_account_files_without_readable_passwords(tmp_path: Path) -> None:
    """Where there are no account files, a password goes into a file that is made for root only."""
    (tmp_path / "root").mkdir()
    target = Target(System(tmp_path / "root"), tmp_path / "runs", "key", set())
    await settle(target, EnsureUser(name="atlas", password=SecretStr(HASH)))
    assert HASH not in content(target, "passwd")
    assert (tmp_path / "root/etc/shadow").stat().st_mode & 0o007 == 0


@given(
    lines=st.lists(st.binary(max_size=40).filter(lambda line: b"\n" not in line), max_size=12),
    ended=st.booleans(),
    name=st.from_regex(r"[a-z]{1,3}", fullmatch=True),
)
def test_editing_a_line_keeps_every_other_byte(lines: list[bytes], ended: bool, name: str) -> None:
    """Whatever an account file holds, adding or changing one line leaves all others byte for byte."""
    table = Table(tuple((b"\n".join(lines) + b"\n" * ended).split(b"\n")), 4)
    row = (name, "x", "12", "")
    edited = table.put(row)
    assert edited.find(name) == row
    assert edited.put(row) == edited
    others = [line for line in edited.lines if line]
    others.remove(b"%s:x:12:" % name.encode())
    there = [line for line in table.lines if line]
    if table.find(name):
        there.remove(next(line for line in there if table._row(line) == table.find(name)))
    assert others == there


def test_a_new_line_comes_before_those_of_nis() -> None:
    """Accounts after `+::::::` would be hidden by those of NIS."""
    table = Table((b"root:x:0:", b"+:::", b""), 4)
    assert table.put(("grid", "x", "9", "")).content == b"root:x:0:\ngrid:x:9:\n+:::\n"


@needs_root
async def test_twenty_users_at_the_same_time_get_twenty_numbers(target: Target) -> None:
    """Users that are made concurrently lose none of each other's lines."""
    async with asyncio.TaskGroup() as group:
        for number in range(20):
            group.create_task(EnsureUser(name=f"user{number}", groups=("users",)).apply(target))
    rows = [line.split(":") for line in content(target, "passwd").splitlines()]
    assert len({row[2] for row in rows}) == len({row[0] for row in rows}) == 21
    assert len(content(target, "group").splitlines()[1].split(",")) == 20
    assert not complaints(target.system.root)


async def test_the_lock_of_other_account_tools_is_respected(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """While lckpwdf(3) holds the accounts, nothing is written, and the error names the lock."""
    monkeypatch.setattr(accounts, "LOCK_PATIENCE", 0.1)
    (target.system.root / "etc/.pwd.lock").touch(0o600)
    program = (
        "import fcntl, sys; f = open(sys.argv[1], 'r+'); fcntl.lockf(f, fcntl.LOCK_EX); print(flush=True); input()"
    )
    holder = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program, str(target.system.root / "etc/.pwd.lock")),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert holder.stdout
    await holder.stdout.readline()
    before = content(target, "group")
    with pytest.raises(ActionError, match=r"\.pwd\.lock"):
        await EnsureGroup(name="grid").apply(target)
    assert content(target, "group") == before
    await holder.communicate(b"\n")
    await EnsureGroup(name="grid").apply(target)


CRASHING = """
import asyncio, os, signal, sys
from pathlib import Path
from pydantic import SecretStr
from ucvm_agent.contextualize.actions import EnsureGroup, EnsureUser
from ucvm_agent.files.rootfs import RootFS
from ucvm_agent.contextualize.system import System
from ucvm_agent.contextualize.target import Target

left = int(sys.argv[2])

def crashing(method):
    def call(*arguments, **options):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return method(*arguments, **options)
    return call

for name in ("write", "make_directory", "make_link"):
    setattr(RootFS, name, crashing(getattr(RootFS, name)))
target = Target(System(Path(sys.argv[1])), Path(sys.argv[1]).parent / "runs", "key", set())
user = EnsureUser(name="atlas", groups=("users",), password=SecretStr("$6$saltsalt$" + "x" * 86))
asyncio.run(user.apply(target))
"""


def crash(target: Target, writes: int) -> int:
    command = [sys.executable, "-c", CRASHING, str(target.system.root), str(writes)]
    return subprocess.run(command, check=False).returncode


@needs_root
@pytest.mark.parametrize("writes", range(10))
async def test_a_crash_before_any_write_is_completed_by_the_next_run(target: Target, writes: int) -> None:
    """After kill -9 before each of the writes, the next run completes the user, and nothing is there twice."""
    crashed = crash(target, writes)
    assert crashed == (-signal.SIGKILL if writes < 9 else 0)
    user = EnsureUser(name="atlas", groups=("users",), password=SecretStr(HASH))
    assert (user.preview(target.system).effect is Effect.NONE) == (crashed == 0)
    await settle(target, user)
    for name in ("passwd", "group", "shadow", "gshadow"):
        names = Counter(line.partition(":")[0] for line in content(target, name).splitlines())
        assert names["atlas"] == 1
    assert (target.system.root / "home/atlas/.config/settings").read_text() == "quiet = yes\n"
    assert [path.name for path in (target.system.root / "home").iterdir()] == ["atlas"]
    assert not complaints(target.system.root)
