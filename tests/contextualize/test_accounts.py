"""Groups, users and keys, on account files that the system's own checkers read afterwards."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections import Counter
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from tests.contextualize.namespaces import needs_namespaces, run_apart
from ucvm_agent.contextualize.actions import Action, AuthorizeKeys, Effect, EnsureGroup, EnsureUser, accounts
from ucvm_agent.contextualize.actions.account_changes import with_group, with_user
from ucvm_agent.contextualize.actions.account_files import Table, read_accounts
from ucvm_agent.contextualize.system import System
from ucvm_agent.contextualize.target import Target
from ucvm_agent.errors import ActionError

SAMPLES = Path(__file__).parents[1] / "data" / "accounts"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDSfs8iKl8r6ozFVXZDJZsmk2n0SjUpNHyZ4Vv7h5v0V"
HASH = "$6$saltsalt$" + "x" * 86

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to users")


@pytest.fixture
def target(tmp_path: Path) -> Target:
    """A root with well-formed account files, and a skeleton."""
    etc = tmp_path / "root" / "etc"
    etc.mkdir(parents=True)
    (etc / "passwd").write_text("root:x:0:0:root:/root:/bin/bash\n")
    (etc / "group").write_text("root:x:0:\nusers:x:100:\n")
    (etc / "shadow").write_text("root:*:15870:0:99999:7:::\n")
    (etc / "gshadow").write_text("root:*::\nusers:*::\n")
    for name, mode in (("passwd", 0o644), ("group", 0o644), ("shadow", 0o640), ("gshadow", 0o600)):
        (etc / name).chmod(mode)
    (etc / "skel" / ".config").mkdir(parents=True)
    (etc / "skel" / ".config" / "settings").write_text("quiet = yes\n")
    (etc / "skel" / ".profile").symlink_to("/etc/profile")
    return Target(System(tmp_path / "root"), tmp_path / "runs", "key", set())


def content(target: Target, name: str) -> str:
    return (target.system.root / "etc" / name).read_text()


def complaints(root: Path) -> Counter[str]:
    """Return what pwck and grpck find wrong with the account files beneath a root (which has few other files)."""
    found = Counter[str]()
    for checker in ("pwck", "grpck"):
        answer = subprocess.run([checker, "-r", "-R", str(root)], capture_output=True, text=True, check=False)
        found.update(
            line for line in answer.stdout.splitlines() if not line.endswith((": no changes", "does not exist"))
        )
    return found


async def settle(target: Target, *actions: Action) -> None:
    """Apply actions, and see that none of them finds anything left to do."""
    for action in actions:
        await action.apply(target)
    for action in actions:
        assert action.preview(target.system).effect is Effect.NONE, action


@needs_root
async def test_a_user_is_complete_and_the_checkers_agree(target: Target) -> None:
    """A user with all that a context can say is made once, beneath the root, and is well-formed."""
    group = EnsureGroup(name="grid", gid=2000)
    user = EnsureUser(
        name="atlas",
        uid=1500,
        gecos="Atlas Müller",
        groups=("grid", "users"),
        password=SecretStr("open sesame"),
        shell="/bin/bash",
        expire_date="2031-12-31",
        inactive_days=7,
    )
    assert user.preview(target.system).effect is Effect.CREATE
    await settle(target, group, user)
    assert "atlas:x:1500:1500:Atlas Müller:/home/atlas:/bin/bash\n" in content(target, "passwd")
    assert "grid:x:2000:atlas\natlas:x:1500:\n" in content(target, "group")
    assert "users:*::atlas\ngrid:!::atlas\natlas:!::\n" in content(target, "gshadow")
    shadow = content(target, "shadow").splitlines()[1].split(":")
    assert shadow[1].startswith("$6$")
    assert shadow[6:8] == ["7", "22644"]
    assert not complaints(target.system.root)


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


@needs_root
async def test_an_existing_user_is_changed_not_replaced(target: Target) -> None:
    """An existing user keeps number and home, and gets only what is asked for."""
    await EnsureUser(name="atlas", uid=1500, home="/srv/atlas").apply(target)
    again = EnsureUser(name="atlas", uid=1777, home="/elsewhere", shell="/bin/zsh", groups=("users",))
    change = again.preview(target.system)
    assert change.summary == "shell '/bin/sh' becomes '/bin/zsh', in group users"
    await settle(target, again)
    assert "atlas:x:1500:1500::/srv/atlas:/bin/zsh" in content(target, "passwd")


@needs_root
@pytest.mark.parametrize(
    "password", ["geheim", HASH, "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$tnSYvahCwPBHKZUspmcxMfb0.WiB9W.zEaKlOBL35rC"]
)
async def test_a_password_is_set_locked_and_unlocked_and_never_shown(target: Target, password: str) -> None:
    """A password, plain or hashed, is stored hashed; locking keeps it; no preview or repr shows it."""
    for lock in (False, True, False):
        user = EnsureUser(name="atlas", password=SecretStr(password), lock_password=lock)
        assert password not in f"{user!r}{user.preview(target.system)}"
        await settle(target, user)
        stored = content(target, "shadow").splitlines()[-1].split(":")[1]
        assert stored.startswith("!$" if lock else "$")
        assert "geheim" not in stored


async def test_numbers_come_from_the_ranges_of_login_defs(target: Target) -> None:
    """Users get numbers above the highest in use, system users downwards, as login.defs says."""
    (target.system.root / "etc/login.defs").write_text("UID_MIN 5000\nGID_MIN 5000\n# x\nSYS_UID_MAX\t0620\n")
    before = read_accounts(target.system.read)
    after = with_user(before, EnsureUser(name="a"), date(2030, 1, 1), str)
    after = with_user(after, EnsureUser(name="b"), date(2030, 1, 1), str)
    after = with_user(after, EnsureUser(name="c", system=True), date(2030, 1, 1), str)
    assert [(row[0], row[2]) for row in after.passwd.rows()] == [
        ("root", "0"),
        ("a", "5000"),
        ("b", "5001"),
        ("c", "400"),
    ]


@needs_root
async def test_a_number_that_is_taken_is_refused_with_its_owner(target: Target) -> None:
    """A wanted number that belongs to another account is refused, in the preview already."""
    for action in (EnsureUser(name="atlas", uid=0), EnsureGroup(name="atlas", gid=0)):
        assert "would be refused" in action.preview(target.system).summary
        with pytest.raises(ActionError, match=r"0 belongs to (user|group) root"):
            await action.apply(target)
    with pytest.raises(ActionError, match="no group nowhere"):
        await EnsureUser(name="atlas", groups=("nowhere",)).apply(target)
    assert "atlas" not in content(target, "passwd") + content(target, "group") + content(target, "shadow")


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


@needs_root
async def test_a_home_is_the_skeleton_and_belongs_to_the_user(target: Target) -> None:
    """A new home holds the skeleton, links as links, all of it the user's; an existing one is left alone."""
    (target.system.root / "home/old").mkdir(parents=True)
    await settle(target, EnsureUser(name="atlas", uid=1500), EnsureUser(name="old"))
    home = target.system.root / "home/atlas"
    assert home.stat().st_mode & 0o777 == 0o700
    assert (home / ".profile").readlink() == Path("/etc/profile")
    assert {path.lstat().st_uid for path in (home, *home.rglob("*"))} == {1500}
    assert not list((target.system.root / "home/old").iterdir())
    await settle(target, EnsureUser(name="daemon", system=True))
    assert not (target.system.root / "home/daemon").exists()


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


@pytest.mark.parametrize(
    "make",
    [
        lambda: EnsureUser(name="a:b"),
        lambda: EnsureUser(name="-rf"),
        lambda: EnsureUser(name="1000"),
        lambda: EnsureUser(name=""),
        lambda: EnsureUser(name="x" * 33),
        lambda: EnsureUser(name="a", gecos="two\nlines"),
        lambda: EnsureUser(name="a", gecos="a:b"),
        lambda: EnsureUser(name="a", home="relative"),
        lambda: EnsureUser(name="a", shell="/bin/sh:x"),
        lambda: EnsureUser(name="a", uid=2**32 - 1),
        lambda: EnsureUser(name="a", groups=("b,c",)),
        lambda: EnsureUser(name="a", expire_date="tomorrow"),
        lambda: EnsureUser(name="a", password=SecretStr("")),
        lambda: EnsureGroup(name="a b"),
        lambda: EnsureGroup(name="a", members=("x\n",)),
        lambda: AuthorizeKeys(user="a", keys=("ssh-rsa",)),
        lambda: AuthorizeKeys(user="a", keys=("ssh-ed25519 AAAA!",)),
        lambda: AuthorizeKeys(user="a", keys=(KEY.replace("ssh-ed25519", "ssh-rsa"),)),
        lambda: AuthorizeKeys(user="a", keys=(f"{KEY}\nssh-rsa x",)),
    ],
)
def test_what_would_break_an_account_file_is_refused(make: type[Action]) -> None:
    """Names, fields and keys that cannot be are refused when the action is made."""
    with pytest.raises(ValueError, match=r"name|field|colon|character|path|date|day|uid|key|password|/"):
        make()


@given(st.text(max_size=60))
def test_any_text_as_a_key_is_a_key_or_a_value_error(text: str) -> None:
    """No text makes the reader of public keys raise anything else."""
    try:
        AuthorizeKeys(user="a", keys=(text,))
    except ValueError:
        return
    pytest.fail(f"{text!r} cannot be a key")


@needs_root
async def test_keys_are_added_once_and_the_users_own_lines_stay(target: Target) -> None:
    """A key that is there with another comment or with options is not added again."""
    await EnsureUser(name="atlas", uid=1500).apply(target)
    folder = target.system.root / "home/atlas/.ssh"
    folder.mkdir(0o755)
    own = f'# mine\ncommand="echo hi" {KEY} old comment\nnonsense'
    (folder / "authorized_keys").write_text(own)
    other = KEY.replace("DSf", "DSg")
    keys = AuthorizeKeys(user="atlas", keys=(f"{KEY} new", f"{other} second"))
    assert f"+{other} second" in keys.preview(target.system).diff
    await settle(target, keys)
    assert (folder / "authorized_keys").read_text() == f"{own}\n{other} second\n"
    assert [path.stat().st_mode & 0o777 for path in (folder, folder / "authorized_keys")] == [0o700, 0o600]
    assert (folder / "authorized_keys").stat().st_uid == 1500


@needs_root
async def test_links_in_a_home_are_not_followed(target: Target) -> None:
    """A user who puts a link, or somebody else's folder, where root writes keys gets a refusal."""
    root = target.system.root
    await EnsureUser(name="atlas", uid=1500).apply(target)
    keys = AuthorizeKeys(user="atlas", keys=(KEY,))
    (root / "home/atlas/.ssh").symlink_to("/etc")
    await refused(keys, target)
    (root / "home/atlas/.ssh").unlink()
    (root / "home/atlas/.ssh").mkdir()
    (root / "home/atlas/.ssh/authorized_keys").symlink_to("/etc/shadow")
    await refused(keys, target)
    (root / "home/atlas/.ssh/authorized_keys").unlink()
    os.chown(root / "home/atlas/.ssh", 1501, 1501)
    await refused(keys, target)
    assert not (root / "etc/authorized_keys").exists()


async def refused(action: Action, target: Target) -> None:
    assert "would be refused" in action.preview(target.system).summary
    with pytest.raises(ActionError, match=r"/home/atlas/\.ssh"):
        await action.apply(target)


@needs_root
async def test_root_gets_keys_beneath_an_empty_root(tmp_path: Path) -> None:
    """Root is there even where there are no account files yet."""
    (tmp_path / "root").mkdir()
    target = Target(System(tmp_path / "root"), tmp_path / "runs", "key", set())
    await settle(target, AuthorizeKeys(user="root", keys=(KEY,)))
    with pytest.raises(ActionError, match="no user atlas"):
        await AuthorizeKeys(user="atlas", keys=(KEY,)).apply(target)


def test_a_preview_assumes_groups_that_an_earlier_action_makes(target: Target) -> None:
    """A user whose groups come with the same plan is previewed as the plan will make it."""
    user = EnsureUser(name="root", primary_group="physics", groups=("grid", "odd@name"), create_home=False)
    change = user.preview(target.system)
    assert change.summary == "primary group root becomes physics, in group grid, in group odd@name"
    change = EnsureUser(name="ada", primary_group="ada", create_home=False).preview(target.system)
    assert "refused" not in change.summary


def test_members_are_united(target: Target) -> None:
    """Members who are there stay, names that are no users yet are added all the same."""
    before = read_accounts(target.system.read)
    once = with_group(before, EnsureGroup(name="users", members=("zoe", "root")))
    twice = with_group(once, EnsureGroup(name="users", members=("root", "amy", "amy")))
    assert twice.group.find("users") == ("users", "x", "100", "zoe,root,amy")


LIVE = """
import asyncio, subprocess, sys
from pathlib import Path
from pydantic import SecretStr
from ucvm_agent.contextualize.actions import AuthorizeKeys, Effect, EnsureGroup, EnsureUser
from ucvm_agent.contextualize.actions import account_tools
from ucvm_agent.contextualize.system import System
from ucvm_agent.contextualize.target import Target

tools = set()
run_tool = account_tools.run_tool

async def noted(system, name, *arguments, **options):
    assert not any("geheim" in argument or "$6$" in argument for argument in arguments)
    tools.add(name)
    await run_tool(system, name, *arguments, **options)

account_tools.run_tool = noted

async def main():
    runs = Path(sys.argv[1])
    runs.mkdir()
    target = Target(System(Path("/")), runs, "key", set())
    actions = [
        EnsureGroup(name="zz-grid", gid=4321, members=("zz-later", "zz-atlas")),
        EnsureUser(name="zz-atlas", uid=4322, groups=("zz-grid",), password=SecretStr("geheim"), gecos="A",
                   expire_date="2031-12-31"),
        EnsureUser(name="zz-atlas", shell="/bin/bash", groups=("users",), lock_password=True),
        EnsureUser(name="zz-system", system=True),
        EnsureGroup(name="zz-grid", members=("zz-system",)),
        AuthorizeKeys(user="zz-atlas", keys=("%s",)),
    ]
    for action in actions:
        await action.apply(target)
        assert action.preview(target.system).effect is Effect.NONE, action.preview(target.system)
    async with asyncio.TaskGroup() as group:
        for number in range(6):
            group.create_task(EnsureUser(name=f"zz-{number}", groups=("zz-grid",)).apply(target))
    print(sorted(tools), flush=True)
    subprocess.run("getent passwd | grep ^zz-a; getent group zz-grid; getent shadow zz-atlas | cut -c1-4;"
                   " getent passwd | grep -c '^zz-[0-9]'; stat -c '%%U %%a' /home/zz-atlas/.ssh/authorized_keys;"
                   " pwck -r -q | grep zz-; chage -l zz-atlas | grep Account", shell=True)

asyncio.run(main())
"""


@needs_namespaces
def test_on_the_running_system_its_own_tools_are_used(tmp_path: Path) -> None:
    """In a mount namespace with copies of /etc and /home, useradd and its kin make the accounts."""
    program = tmp_path / "live.py"
    program.write_text(LIVE % KEY)
    script = textwrap.dedent(f"""
        for folder in /etc /home /var/log; do
            mkdir -p {tmp_path}$folder
            test $folder = /var/log || cp -a $folder/. {tmp_path}$folder
            mount --bind {tmp_path}$folder $folder
        done
        exec {sys.executable} -W error {program} {tmp_path}/runs
    """)
    passwd = Path("/etc/passwd").read_bytes()
    answer = run_apart(script, tmp_path)
    assert answer.stderr == ""
    lines = answer.stdout.splitlines()
    assert lines[0] == "['chpasswd', 'gpasswd', 'groupadd', 'useradd', 'usermod']"
    assert lines[1] == "zz-atlas:x:4322:4322:A:/home/zz-atlas:/bin/bash"
    assert set(lines[2].split(":")[3].split(",")) >= {"zz-later", "zz-atlas", "zz-system", "zz-0", "zz-5"}
    assert lines[3:5] == ["zz-a", "6"]
    assert lines[5] == "zz-atlas 600"
    assert lines[6].split(":")[1].strip() == "Dec 31, 2031"
    assert Path("/etc/passwd").read_bytes() == passwd
