"""Paths resolve beneath a root as they would after chroot(2), which is asked here for the right answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ucvm_agent.errors import ActionError, UnsafePath
from ucvm_agent.files.resolve import Walk, split
from ucvm_agent.files.rootfs import RootFS

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="chroot(2) needs root")

CHROOT = """
import errno, json, os, sys

def look(path, follow):
    try:
        return os.stat(path, follow_symlinks=follow).st_ino
    except OSError as error:
        return None if error.errno in (errno.ENOENT, errno.ENOTDIR) else error.errno

for line in sys.stdin:
    root, path = json.loads(line)
    if not os.fork():
        os.chroot(root)
        os.chdir("/")
        text = open(path).read() if os.path.isfile(path) else None
        answer = [look(path, True), look(path, False), os.path.realpath(path) if os.path.exists(path) else None, text]
        print(json.dumps(answer), flush=True)
        os._exit(0)
    os.wait()
"""

Ask = Callable[[Path, str], list[Any]]


@pytest.fixture(scope="module")
def ask() -> Iterator[Ask]:
    """A process that answers from inside a chroot: inode followed, inode not followed, real path, content."""
    command = [sys.executable, "-S", "-c", CHROOT]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        requests, answers = process.stdin, process.stdout

        def ask(root: Path, path: str) -> list[Any]:
            requests.write(json.dumps([str(root), path]) + "\n")
            requests.flush()
            answer: list[Any] = json.loads(answers.readline())
            return answer

        yield ask


names = st.sampled_from(["a", "b", "c"])
paths = st.lists(names, min_size=1, max_size=4).map(lambda steps: "/" + "/".join(steps))
targets = st.tuples(
    st.sampled_from(["", "/"]),
    st.lists(names | st.sampled_from(["..", ".", ""]), min_size=1, max_size=5).map("/".join),
).map("".join)
trees = st.lists(st.tuples(paths, st.none() | st.just("") | targets), max_size=12)


def grow(root: Path, tree: list[tuple[str, str | None]]) -> None:
    """Make directories (None), files ("") and links, wherever they fit."""
    for path, target in tree:
        place = root
        for step in path.split("/")[1:-1]:
            place /= step
            if not os.path.lexists(place):
                place.mkdir()
            if place.is_symlink() or not place.is_dir():
                break
        else:
            place /= path.rsplit("/", 1)[1]
            if os.path.lexists(place):
                continue
            if target is None:
                place.mkdir()
            elif target:
                place.symlink_to(target)
            else:
                place.write_text("old")


@settings(max_examples=300)
@given(tree=trees, path=paths)
def test_a_path_leads_where_it_leads_in_a_chroot(ask: Ask, tree: list[tuple[str, str | None]], path: str) -> None:
    """Links, absolute or upwards, dangling or in a loop, lead to the same inode as after chroot(2)."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        grow(root, tree)
        followed, there, real, _ = ask(root, path)
        for follow, expected in ((True, followed), (False, there)):
            with closing(Walk(root)) as walk:
                try:
                    entry = walk.to(split(path), follow=follow, make=False).entry
                    found = entry.st_ino if entry else None
                except OSError as error:
                    found = error.errno
            assert found == expected
        if real is not None:
            assert RootFS(root).real(path) == root / real.lstrip("/")


@settings(max_examples=200)
@given(tree=trees, path=paths)
def test_what_is_written_is_read_at_that_path_in_a_chroot(
    ask: Ask, tree: list[tuple[str, str | None]], path: str
) -> None:
    """A write either fails with our error, or can be read back through chroot(2); nothing appears outside."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "root")
        root.mkdir()
        grow(root, tree)
        try:
            RootFS(root).write(path, b"new", mode=0o644, uid=0, gid=0)
        except ActionError:
            pass
        else:
            assert ask(root, path)[3] == "new"
        assert [entry.name for entry in Path(folder).iterdir()] == ["root"]
        assert not [name for _, _, files in os.walk(root) for name in files if name.startswith(".ucvm-")]


@pytest.mark.parametrize("path", ["", "etc/motd", "/etc/../motd", "/..", "/a\0b", "/\ud800"])
def test_a_path_that_is_not_absolute_or_goes_up_is_refused(path: str, tmp_path: Path) -> None:
    """Such a path is a mistake of its writer and not quietly read as another one."""
    with pytest.raises(UnsafePath):
        RootFS(tmp_path).status(path)


def test_forty_links_are_followed_and_no_more(tmp_path: Path) -> None:
    """The bound on links is the kernel's."""
    (tmp_path / "0").write_text("end")
    for number in range(1, 42):
        (tmp_path / str(number)).symlink_to(str(number - 1))
    assert RootFS(tmp_path).read("/40", 10) == b"end"
    with pytest.raises(ActionError, match="Too many levels of symbolic links"):
        RootFS(tmp_path).read("/41", 10)


def test_a_path_of_very_many_directories_is_refused(tmp_path: Path) -> None:
    """A deep path cannot use up the descriptors of the agent."""
    with pytest.raises(ActionError, match="Too many nested directories"):
        RootFS(tmp_path).write("/d" * 200, b"", mode=0o644, uid=0, gid=0)
