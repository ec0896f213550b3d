"""Files are replaced as a whole and durably, and never outside the root."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from ucvm_agent.errors import ActionError, UnsafePath
from ucvm_agent.files.rootfs import Kind, RootFS, Status

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="owners can be set by root only")

RENAME_EXCHANGE = 2
"""See renameat2(2)."""

CHILD = """
import os, sys
from pathlib import Path
from ucvm_agent.files.rootfs import RootFS
files = RootFS(Path(sys.argv[1]))
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An empty root directory with a neighbour `outside` that nobody may touch."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def outside(root: Path) -> list[str]:
    """What has got out of the root."""
    return names(root.parent / "outside")


def write(root: Path, path: str, content: bytes = b"new") -> None:
    RootFS(root).write(path, content, mode=0o644, uid=0, gid=0)


def test_a_file_gets_content_mode_and_owner_and_its_parents(root: Path) -> None:
    """Parents are 0755 whatever the umask is, the file itself is as asked for."""
    before = os.umask(0o077)
    try:
        RootFS(root).write("/srv/data/file", b"text", mode=0o4750, uid=1, gid=2)
    finally:
        os.umask(before)
    assert RootFS(root).status("/srv/data/file") == Status(Kind.FILE, 0o4750, 1, 2, 4)
    assert RootFS(root).status("/srv/data") == Status(Kind.DIRECTORY, 0o755, 0, 0, (root / "srv/data").stat().st_size)
    assert RootFS(root).read("/srv/data/file", 4) == b"text"
    assert RootFS(root).names("/srv") == ["data"]


def test_a_link_at_the_end_is_followed_and_stays(root: Path) -> None:
    """/etc/resolv.conf -> /run/resolv.conf: the file behind the link is written, even if it is not there yet."""
    (root / "etc").mkdir()
    (root / "etc/resolv.conf").symlink_to("/run/net/resolv.conf")
    write(root, "/etc/resolv.conf")
    assert (root / "etc/resolv.conf").is_symlink()
    assert (root / "run/net/resolv.conf").read_bytes() == b"new"


@pytest.mark.parametrize("path", ["/tmp/file", "/tmp/folder/file"])
def test_a_link_of_a_user_is_not_followed_by_what_is_written(root: Path, path: str) -> None:
    """A user who knows what will be written to /tmp, or to a home, cannot make root write elsewhere by that."""
    (root / "etc").mkdir()
    (root / "etc/shadow").write_bytes(b"secrets")
    (root / "tmp").mkdir()
    (root / "tmp/file").symlink_to("/etc/shadow")
    (root / "tmp/folder").symlink_to("/etc")
    for link in (root / "tmp").iterdir():
        os.lchown(link, 1000, 1000)
    with pytest.raises(UnsafePath, match="a symbolic link of user 1000 is in the way"):
        write(root, path)
    with pytest.raises(UnsafePath):
        RootFS(root).make_directory(f"{path}/inner", mode=0o755, uid=1000, gid=1000)
    with pytest.raises(UnsafePath):
        RootFS(root).remove("/tmp/folder/shadow")
    assert (root / "etc/shadow").read_bytes() == b"secrets"
    assert names(root / "etc") == ["shadow"]
    assert RootFS(root).read("/tmp/file", 100) == b"secrets"


def test_links_of_who_owns_the_root_are_followed(root: Path) -> None:
    """A root file system that a user has unpacked is as good as that user."""
    (root / "usr/bin").mkdir(parents=True)
    (root / "bin").symlink_to("usr/bin")
    for path in (root, root / "bin"):
        os.lchown(path, 1000, 1000)
    write(root, "/bin/program")
    assert (root / "usr/bin/program").read_bytes() == b"new"


@pytest.mark.parametrize("target", ["{outside}", "../outside", "../../../../../../../../{outside}", "/../{outside}"])
def test_a_link_that_leads_outside_leads_back_inside(root: Path, target: str) -> None:
    """An absolute link starts at the root, and `..` stops there."""
    (root / "link").symlink_to(target.format(outside=root.parent / "outside"))
    write(root, "/link/file")
    assert outside(root) == []
    assert RootFS(root).read("/link/file", 10) == b"new"


def test_links_in_a_loop_are_an_error_that_says_so(root: Path) -> None:
    """The error names the path and what to look for."""
    (root / "a").symlink_to("b")
    (root / "b").symlink_to("a")
    with pytest.raises(ActionError) as caught:
        write(root, "/a/file")
    assert caught.value.where == "/a/file"
    assert "link" in caught.value.hint


def test_a_link_that_is_swapped_in_during_writes_leads_nowhere_else(root: Path) -> None:
    """A thread exchanges a directory on the way for a link to the outside, over and over, and wins nothing."""
    (root / "way").mkdir()
    (root / "trap").symlink_to(root.parent / "outside")
    libc = ctypes.CDLL(None, use_errno=True)
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            assert libc.renameat2(-1, bytes(root / "way"), -1, bytes(root / "trap"), RENAME_EXCHANGE) == 0

    racer = threading.Thread(target=swap)
    racer.start()
    try:
        for number in range(200):
            try:
                write(root, f"/way/{number}")
                RootFS(root).make_link(f"/way/link{number}", "x")
                RootFS(root).remove(f"/way/link{number}")
            except ActionError:  # the link was there at the moment of opening: refused
                continue
    finally:
        stop.set()
        racer.join()
    assert outside(root) == []


def test_concurrent_writes_of_one_file_leave_one_of_their_contents(root: Path) -> None:
    """No mixture, no leftovers."""
    contents = [bytes([number]) * 100_000 for number in range(8)]
    threads = [threading.Thread(target=write, args=(root, "/file", content)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (root / "file").read_bytes() in contents
    assert names(root) == ["file"]


def test_what_is_no_file_is_not_replaced_by_one(root: Path) -> None:
    """Directories and devices stay what they are."""
    (root / "directory").mkdir()
    os.mkfifo(root / "pipe")
    for path in ("/directory", "/pipe", "/"):
        with pytest.raises(ActionError, match="no regular file"):
            write(root, path)
    assert RootFS(root).read("/pipe", 10) is None
    assert RootFS(root).status("/pipe") == Status(Kind.OTHER, 0o644, 0, 0, 0)


def test_a_refused_file_leaves_the_old_one(root: Path) -> None:
    """`check` sees the complete new file at a real path, with its final mode, and can refuse it."""
    write(root, "/file", b"old")
    seen: list[tuple[bytes, int]] = []

    def refuse(path: Path) -> None:
        seen.append((path.read_bytes(), path.stat().st_mode & 0o7777))
        raise ActionError("no")

    with pytest.raises(ActionError, match="no"):
        RootFS(root).write("/file", b"new", mode=0o440, uid=0, gid=0, check=refuse)
    assert seen == [(b"new", 0o440)]
    assert (root / "file").read_bytes() == b"old"
    assert names(root) == ["file"]


def test_kill_9_before_the_rename_leaves_the_old_file_and_the_next_write_cleans_up(root: Path) -> None:
    """What the dead process left is gone after the next attempt, however often it dies."""
    write(root, "/file", b"old")
    script = (
        CHILD + 'files.write("/file", b"new", mode=0o600, uid=0, gid=0, check=lambda path: os.kill(os.getpid(), 9))'
    )
    for _ in range(2):
        assert subprocess.run([sys.executable, "-c", script, root], check=False).returncode == -signal.SIGKILL
        assert (root / "file").read_bytes() == b"old"
        assert len(names(root)) == 2
    write(root, "/file")
    assert names(root) == ["file"]
    assert (root / "file").read_bytes() == b"new"


def test_file_and_folder_are_on_disk_before_and_after_the_rename(root: Path, tmp_path: Path) -> None:
    """The kernel is asked for fsync of the new file, the rename, fsync of its folder, and of the one made for it."""
    log = tmp_path / "strace"
    script = CHILD + 'files.write("/new/file", b"text", mode=0o644, uid=0, gid=0)'
    calls = "trace=mkdirat,fsync,rename,renameat,renameat2"
    command = ["strace", "-y", "-qq", "-o", str(log), "-e", calls, sys.executable, "-c", script, str(root)]
    subprocess.run(command, check=True)
    found = re.findall(r"^(\w+)\((?:\d+<([^>]*)>)?", log.read_text(), re.MULTILINE)
    place = str(root / "new")
    temporary = next(path for _, path in found if "/.ucvm-" in path)
    assert [(call, path) for call, path in found if path.startswith(str(root))] == [
        ("mkdirat", str(root)),
        ("fsync", place),
        ("fsync", str(root)),
        ("fsync", temporary),
        ("renameat", place),
        ("fsync", place),
    ]


def test_a_directory_is_made_or_given_mode_and_owner(root: Path) -> None:
    """Through a link as well; what is there and no directory is refused."""
    files = RootFS(root)
    files.make_directory("/home/atlas", mode=0o2770, uid=5, gid=6)
    (root / "link").symlink_to("home/atlas")
    assert files.status("/link") == Status(Kind.DIRECTORY, 0o2770, 5, 6, (root / "home/atlas").stat().st_size)
    files.make_directory("/link", mode=0o700, uid=0, gid=0)
    assert (root / "home/atlas").stat().st_mode & 0o7777 == 0o700
    write(root, "/file")
    with pytest.raises(ActionError, match="no directory"):
        files.make_directory("/file", mode=0o755, uid=0, gid=0)


def test_a_link_is_replaced_and_anything_else_is_not(root: Path) -> None:
    """The link keeps its text as written, and is removed without what it points to."""
    files = RootFS(root)
    files.make_link("/etc/localtime", "/usr/share/zoneinfo/UTC")
    files.make_link("/etc/localtime", "../usr/share/zoneinfo/Europe/Zurich")
    there = files.status("/etc/localtime", follow=False)
    assert there is not None
    assert there.link == "../usr/share/zoneinfo/Europe/Zurich"
    assert files.status("/etc/localtime") is None
    files.remove("/etc/localtime")
    files.remove("/etc/localtime")
    assert files.names("/etc") == []
    write(root, "/etc/localtime")
    with pytest.raises(ActionError, match="is a file"):
        files.make_link("/etc/localtime", "x")
    with pytest.raises(ActionError):
        files.remove("/etc")


def test_a_real_path_need_not_exist(root: Path) -> None:
    """What is missing is appended as written, and still cannot leave the root."""
    (root / "etc").symlink_to("/usr/etc")
    assert RootFS(root).real("/etc/new/file") == root / "usr/etc/new/file"
    (root / "up").symlink_to("missing/../../../x")
    assert RootFS(root).real("/up") == root / "x"


def test_more_than_the_limit_is_an_error_and_nothing_is_read(root: Path) -> None:
    """A file may be as long as the limit."""
    write(root, "/file", b"12345")
    assert RootFS(root).read("/file", 5) == b"12345"
    with pytest.raises(ActionError, match="larger than 4 bytes"):
        RootFS(root).read("/file", 4)


def test_no_descriptor_stays_open(root: Path) -> None:
    """Neither after success nor after failure."""
    files = RootFS(root)
    (root / "loop").symlink_to("loop")
    before = len(names(Path("/proc/self/fd")))
    write(root, "/a/b/c")
    files.make_directory("/a/d", mode=0o755, uid=0, gid=0)
    files.names("/a")
    for path in ("/loop", "/a/b", "/a/b/c/d"):
        with pytest.raises(ActionError):
            write(root, path)
    assert len(names(Path("/proc/self/fd"))) == before


def test_without_root_a_foreign_owner_is_refused_and_ones_own_is_not() -> None:
    """The hint says what to do."""
    script = CHILD + (
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        'files.write("/mine", b"", mode=0o600, uid=65534, gid=65534)\n'
        'files.write("/theirs", b"", mode=0o600, uid=1000, gid=65534)\n'
    )
    with tempfile.TemporaryDirectory() as folder:  # tmp_path is closed to others
        Path(folder).chmod(0o777)
        ended = subprocess.run([sys.executable, "-c", script, folder], capture_output=True, text=True, check=False)
        assert names(Path(folder)) == ["mine"]
    assert "/theirs: cannot be given to uid 1000, gid 65534 (run as root)" in ended.stderr


def test_a_missing_root_directory_is_an_error_that_says_so(tmp_path: Path) -> None:
    """It is not made."""
    with pytest.raises(ActionError, match="root directory"):
        write(tmp_path / "missing", "/file")
