"""The keys of a user, in a home that is the user's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.contextualize.account_root import KEY, needs_root, settle
from ucvm_agent.contextualize.actions import Action, AuthorizeKeys, EnsureUser
from ucvm_agent.contextualize.system import System
from ucvm_agent.contextualize.target import Target
from ucvm_agent.errors import ActionError


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
