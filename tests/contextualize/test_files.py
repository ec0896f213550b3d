"""Files, directories and links: what the preview says is what happens, and then there is nothing left to do."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ucvm_agent.contextualize.actions.base import Action, Change, Effect, Resource
from ucvm_agent.contextualize.actions.blocks import put_block
from ucvm_agent.contextualize.actions.extract import ExtractArchive
from ucvm_agent.contextualize.actions.files import MakeDirectory, MakeLink, WriteFile
from ucvm_agent.contextualize.actions.secret import SecretReference
from ucvm_agent.contextualize.actions.secret_files import WriteSecretFile
from ucvm_agent.contextualize.system import System
from ucvm_agent.contextualize.target import Target
from ucvm_agent.errors import ActionError

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="owners can be set by root only")


def apply(action: Action, root: Path) -> Change:
    """Preview and apply the action, and see that it is done then; returns the preview."""
    system = System(root)
    change = action.preview(system)
    asyncio.run(action.apply(Target(system, root, "key", frozenset())))
    assert action.preview(system).effect is Effect.NONE
    return change


def accounts(root: Path) -> None:
    """Let there be a user atlas beneath the root."""
    (root / "etc").mkdir()
    (root / "etc/passwd").write_text("atlas:x:1001:1002::/home/atlas:/bin/sh\n")
    (root / "etc/group").write_text("cern:x:1002:\n")


def test_a_new_file_is_shown_as_a_whole(tmp_path: Path) -> None:
    """With mode and owner in the summary."""
    change = apply(WriteFile(path="/etc/motd", content=b"Welcome\nto CERN"), tmp_path)
    assert change == Change(
        Effect.CREATE,
        "new file, 15 bytes, mode 0644, owner root:root",
        "--- /etc/motd (new file)\n+++ /etc/motd\n@@ -0,0 +1,2 @@\n+Welcome\n+to CERN\n\\ No newline at end of file\n",
    )


def test_a_changed_file_is_shown_as_a_unified_diff(tmp_path: Path) -> None:
    """Mode and owner come first, as they are and as they will be."""
    accounts(tmp_path)
    (tmp_path / "etc/motd").write_text("one\ntwo\n")
    (tmp_path / "etc/motd").chmod(0o755)
    action = WriteFile(path="/etc/motd", content=b"one\n2\n", owner="atlas", group="cern")
    change = apply(action, tmp_path)
    assert change.effect is Effect.UPDATE
    assert change.diff == (
        "-mode 0755\n+mode 0644\n-owner 0:0\n+owner atlas:cern\n"
        "--- /etc/motd\n+++ /etc/motd\n@@ -1,2 +1,2 @@\n one\n-two\n+2\n"
    )
    assert (tmp_path / "etc/motd").stat().st_uid == 1001
    assert (tmp_path / "etc/motd").stat().st_gid == 1002


def test_content_is_appended_once(tmp_path: Path) -> None:
    """The lines that are added are shown as such."""
    (tmp_path / "hosts").write_text("127.0.0.1 localhost\n")
    change = apply(WriteFile(path="/hosts", content=b"::1 localhost\n", append=True), tmp_path)
    assert change.diff.splitlines()[2:] == ["@@ -1 +1,2 @@", " 127.0.0.1 localhost", "+::1 localhost"]
    apply(WriteFile(path="/hosts", content=b"::1 localhost\n", append=True), tmp_path)
    assert (tmp_path / "hosts").read_text() == "127.0.0.1 localhost\n::1 localhost\n"


def test_text_has_to_be_encoded() -> None:
    """The slip of everybody's first contextualizer is told where it is made."""
    with pytest.raises(ValueError, match="encode the text"):
        WriteFile(path="/motd", content="Welcome")  # type: ignore[arg-type]  # the slip


def test_a_block_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    """It comes to the end of the file and stays in its place; without content it is gone."""

    def block(content: bytes) -> WriteFile:
        return WriteFile(path="/default.local", content=content, block="cvmfs")

    path = tmp_path / "default.local"
    path.write_text("A=1")
    apply(block(b"A=2\nB=2\n"), tmp_path)
    with path.open("a") as file:
        file.write("C=3\n")
    assert apply(block(b"A=4\n"), tmp_path).diff.splitlines()[3:] == [
        " A=1",
        " # begin of cvmfs, written by ucvm-agent",
        "-A=2",
        "-B=2",
        "+A=4",
        " # end of cvmfs, written by ucvm-agent",
        " C=3",
    ]
    assert [line for line in path.read_text().splitlines() if line[0] != "#"] == ["A=1", "A=4", "C=3"]
    apply(block(b""), tmp_path)
    assert path.read_text() == "A=1\nC=3\n"


@given(st.binary(max_size=60), st.lists(st.sampled_from([b"a\n", b"# end\n", b"\r\n"])))
def test_any_file_can_have_a_block(text: bytes, lines: list[bytes]) -> None:
    """Put twice it is there once, and taken out again it leaves what was there, with its last line ended."""
    content = b"".join(lines)
    once = put_block(text, "x", content)
    assert put_block(once, "x", content) == once
    assert put_block(once, "x", b"") in (text, text + b"\n")


@pytest.mark.parametrize(
    ("action", "mode_before"),
    [
        (WriteFile(path="/key", content=b"sesame", mode=0o600), 0o644),
        (WriteFile(path="/key", content=b"sesame", mode=0o711), 0o644),
        (WriteFile(path="/key", content=b"sesame", sensitive=True), 0o644),
        (WriteFile(path="/key", content=b"sesame"), 0o600),
    ],
)
def test_a_private_content_is_never_shown(action: WriteFile, mode_before: int, tmp_path: Path) -> None:
    """Neither the new one nor the one that is there."""
    (tmp_path / "key").write_text("open")
    (tmp_path / "key").chmod(mode_before)
    change = apply(action, tmp_path)
    for secret in ("sesame", "open"):
        assert secret not in change.diff + change.summary + repr(action)
    assert "content changes (hidden)" in change.diff


@pytest.mark.parametrize("content", [b"\0\1", b"\xff", b"\x1b[2J", "\u202egnp.exe".encode(), b"x" * 300_000])
def test_what_a_terminal_would_not_show_as_it_is_takes_one_line(content: bytes, tmp_path: Path) -> None:
    """With sizes and the beginnings of the hashes."""
    (tmp_path / "file").write_bytes(b"old")
    change = apply(WriteFile(path="/file", content=content), tmp_path)
    assert len(change.diff.splitlines()) == 1
    assert f"3 bytes (SHA-256 cba06b5736fa) to {len(content)} bytes" in change.diff


def test_a_huge_file_is_replaced_without_being_read(tmp_path: Path) -> None:
    """The summary tells its size."""
    with (tmp_path / "file").open("wb") as file:
        file.truncate(1024**3)
    change = apply(WriteFile(path="/file", content=b"small"), tmp_path)
    assert change.summary == f"file of {1024**3} bytes changes"


def test_an_owner_who_does_not_exist_is_a_change_and_then_an_error(tmp_path: Path) -> None:
    """In a preview an earlier action may still make the user."""
    (tmp_path / "file").write_text("text")
    action = WriteFile(path="/file", content=b"text", owner="nobody-yet")
    assert action.preview(System(tmp_path)).diff == "-owner 0:0\n+owner nobody-yet:root\n"
    with pytest.raises(ActionError, match="no user nobody-yet"):
        apply(action, tmp_path)
    with pytest.raises(ActionError, match="no group none"):
        apply(MakeDirectory(path="/folder", group="none"), tmp_path)


def test_a_directory_gets_its_mode_and_owner(tmp_path: Path) -> None:
    """New or there already."""
    accounts(tmp_path)
    assert apply(MakeDirectory(path="/srv/data", mode=0o1777), tmp_path).summary == (
        "new directory, mode 1777, owner root:root"
    )
    change = apply(MakeDirectory(path="/srv/data", mode=0o2775, group="cern"), tmp_path)
    assert change.diff == "-mode 1777\n+mode 2775\n-owner 0:0\n+owner root:cern\n"


def test_a_link_is_made_and_changed(tmp_path: Path) -> None:
    """The summary says from where to where."""
    assert apply(MakeLink(path="/etc/localtime", to="../usr/UTC"), tmp_path).effect is Effect.CREATE
    change = apply(MakeLink(path="/etc/localtime", to="/usr/CET"), tmp_path)
    assert change == Change(Effect.UPDATE, "link to ../usr/UTC becomes link to /usr/CET")


def test_a_file_becomes_a_link_only_if_that_is_asked_for(tmp_path: Path) -> None:
    """As /etc/localtime of images that have a copy of the zone there."""
    (tmp_path / "localtime").write_text("UTC")
    change = apply(MakeLink(path="/localtime", to="/usr/CET", replace_file=True), tmp_path)
    assert change == Change(Effect.UPDATE, "file of 3 bytes becomes link to /usr/CET")
    assert (tmp_path / "localtime").readlink() == Path("/usr/CET")


def test_what_is_in_the_way_is_told_before_and_refused_then(tmp_path: Path) -> None:
    """A directory in the place of a file, and the other way round."""
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").touch()
    system = System(tmp_path)
    target = Target(system, tmp_path, "key", frozenset())
    wrong: list[Action] = [
        WriteFile(path="/directory", content=b""),
        MakeDirectory(path="/file"),
        MakeLink(path="/file", to="x"),
        ExtractArchive(path="/file", content=b""),
        WriteFile(path="/file/below", content=b""),
        MakeDirectory(path="/file/far/below"),
        MakeLink(path="/file/below", to="x"),
    ]
    for action in wrong:
        assert "would be refused" in action.preview(system).summary
        with pytest.raises(ActionError):
            asyncio.run(action.apply(target))
    secret = WriteSecretFile(path="/file/below", source=SecretReference("ssm:x"))
    assert secret.preview(system) == Change(Effect.UPDATE, "would be refused: /file is a file")


@pytest.mark.parametrize("path", ["", "motd", "/etc/../motd", "/", "/a\0"])
def test_a_path_that_is_none_is_refused_at_once(path: str) -> None:
    """So that the plan can point at the line in the context."""
    with pytest.raises(ValueError, match=r".+"):
        WriteFile(path=path, content=b"")
    with pytest.raises(ValueError, match=r".+"):
        MakeDirectory(path=path)
    with pytest.raises(ValueError, match=r".+"):
        MakeLink(path=path, to="x")


@pytest.mark.parametrize("mode", [-1, 0o10000, 644_000])
def test_a_mode_that_is_none_is_refused_at_once(mode: int) -> None:
    """The message shows how a mode is written."""
    with pytest.raises(ValueError, match="0644"):
        WriteFile(path="/file", content=b"", mode=mode)


def test_actions_know_what_they_need_and_make() -> None:
    """Owners and all directories above, however the path is written."""
    action = WriteFile(path="//srv/./data/file/", content=b"", owner="atlas", group="cern")
    assert action.provides() == {Resource("path", "/srv/data/file")}
    assert action.requires() == {
        Resource("path", "/srv"),
        Resource("path", "/srv/data"),
        Resource("user", "atlas"),
        Resource("group", "cern"),
    }
    assert MakeLink(path="/srv/link", to="x").requires() == {Resource("path", "/srv")}
    assert ExtractArchive(path="/", content=b"").requires() == frozenset()


def test_a_file_that_its_program_refuses_is_not_put_in_place(tmp_path: Path) -> None:
    """The running system's program is asked, and its answer is the hint."""
    place = tmp_path / "rules"
    command = ("sh", "-c", 'grep -q good "$1" || { echo "bad line in $1" >&2; exit 3; }', "sh", "{}")
    target = Target(System(Path("/")), tmp_path, "key", frozenset())
    asyncio.run(WriteFile(path=str(place), content=b"good", check=command).apply(target))
    with pytest.raises(ActionError) as caught:
        asyncio.run(WriteFile(path=str(place), content=b"evil", check=command).apply(target))
    assert caught.value.message == "sh refuses the new content"
    assert caught.value.hint == f"bad line in {place}"
    with pytest.raises(ActionError) as caught:
        asyncio.run(WriteFile(path=str(place), content=b"evil", check=command, mode=0o600).apply(target))
    assert "bad line" not in str(caught.value)
    assert place.read_bytes() == b"good"


def test_beneath_a_root_its_own_program_is_asked_if_there_is_one(tmp_path: Path) -> None:
    """In a chroot; without such a program the file is accepted."""
    evil = WriteFile(path="/etc/rules", content=b"evil", check=("grep", "-q", "good", "{}"))
    apply(evil, tmp_path)
    (tmp_path / "bin").mkdir()
    shutil.copy("/bin/busybox", tmp_path / "bin/busybox")
    (tmp_path / "bin/grep").symlink_to("/bin/busybox")
    apply(WriteFile(path="/etc/rules", content=b"good", check=("grep", "-q", "good", "{}")), tmp_path)
    with pytest.raises(ActionError, match="grep refuses"):
        apply(evil, tmp_path)


modes = st.integers(0, 0o7777)


@given(
    content=st.binary(max_size=300) | st.text(max_size=300).map(str.encode),
    before=st.none() | st.binary(max_size=300) | st.text(max_size=300).map(str.encode),
    mode=modes,
    append=st.booleans(),
)
def test_after_applying_nothing_is_left_to_do(content: bytes, before: bytes | None, mode: int, append: bool) -> None:
    """For any content, mode and predecessor; the preview said so if something was to be done."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        if before is not None:
            (root / "file").write_bytes(before)
        change = apply(WriteFile(path="/file", content=content, mode=mode, append=append), root)
        after = (root / "file").read_bytes()
        assert after == content if not append else after.endswith(content) and after.startswith(before or b"")
        if change.effect is Effect.NONE:
            assert after == before
        assert "\x1b" not in change.diff


UNPRIVILEGED = """
import os, sys
from pathlib import Path
from ucvm_agent.contextualize.actions import *
from ucvm_agent.contextualize.system import System
system = System(Path(sys.argv[1]))
archive = Path(sys.argv[2]).read_bytes()
actions = (
    WriteFile(path="/etc/motd", content=b"hello"),
    WriteFile(path="/closed/file", content=b"hello"),
    WriteFile(path="/secret", content=b"hello"),
    MakeDirectory(path="/closed/folder"),
    MakeLink(path="/closed/link", to="x"),
    ExtractArchive(path="/closed/archive", content=archive),
)
for action in actions:
    action.preview(system)  # loads what is loaded when it is used: the interpreter itself may be closed to others
os.setgroups([]); os.setgid(65534); os.setuid(65534)
for action in actions:
    print(action.kind, action.preview(system).effect)
"""


def test_a_preview_needs_no_privilege(tmp_path: Path) -> None:
    """What may not be read counts as not there."""
    archive = tmp_path / "archive.zip"
    shutil.make_archive(str(tmp_path / "archive"), "zip", Path(__file__).parent, "__init__.py")
    with tempfile.TemporaryDirectory() as folder:  # tmp_path is closed to others
        root = Path(folder)
        root.chmod(0o755)
        (root / "closed").mkdir(mode=0o700)
        (root / "closed/file").write_text("text")
        (root / "secret").write_text("hello")
        (root / "secret").chmod(0o600)
        command = [sys.executable, "-c", UNPRIVILEGED, folder, str(archive)]
        ended = subprocess.run(command, capture_output=True, text=True, check=True)
    expected = ["file create"] * 3 + ["directory create", "link create", "archive create"]
    assert ended.stdout.splitlines() == expected
