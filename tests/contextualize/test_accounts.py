"""Groups and users: what they get, and what is refused."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from pydantic import SecretStr

from tests.contextualize.account_root import HASH, KEY, complaints, content, needs_root, settle
from ucvm_agent.contextualize.actions import Action, AuthorizeKeys, Effect, EnsureGroup, EnsureUser
from ucvm_agent.contextualize.actions.account_changes import with_group, with_user
from ucvm_agent.contextualize.actions.account_files import read_accounts
from ucvm_agent.contextualize.target import Target
from ucvm_agent.errors import ActionError


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
