"""Archives are unpacked as they are, or refused as a whole if any member could do harm."""

from __future__ import annotations

import asyncio
import bz2
import gzip
import io
import lzma
import os
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ucvm_agent.contextualize.actions import archives
from ucvm_agent.contextualize.actions.archives import check_members, read_members
from ucvm_agent.contextualize.actions.base import Effect
from ucvm_agent.contextualize.actions.extract import ExtractArchive
from ucvm_agent.contextualize.system import System
from ucvm_agent.contextualize.target import Target
from ucvm_agent.errors import ActionError
from ucvm_agent.files.rootfs import Kind, RootFS

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="owners can be set by root only")

COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": partial(gzip.compress, mtime=0),
    "bzip2": bz2.compress,
    "xz": lzma.compress,
}


def member(name: str, content: bytes = b"", **attributes: object) -> tuple[tarfile.TarInfo, bytes]:
    """Return a tar member with these attributes of `tarfile.TarInfo`."""
    header = tarfile.TarInfo(name)
    header.size = len(content)
    for key, value in attributes.items():
        setattr(header, key, value)
    return header, content


def tar(*members: tuple[tarfile.TarInfo, bytes], compression: str = "plain") -> bytes:
    """Return a tar archive."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for header, content in members:
            archive.addfile(header, io.BytesIO(content))
    return COMPRESSIONS[compression](packed.getvalue())


def negative(kind: bytes) -> bytes:
    """Return a tar header that would have its reader go back to its own beginning."""
    header = tarfile.TarInfo("back")
    header.type, header.size = kind, -tarfile.BLOCKSIZE
    return header.tobuf(tarfile.GNU_FORMAT)


def zipped(*members: tuple[str, int, bytes]) -> bytes:
    """Return a zip archive of names, modes and contents."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, mode, content in members:
            entry = zipfile.ZipInfo(name)
            entry.external_attr = mode << 16
            archive.writestr(entry, content)
    return packed.getvalue()


def link(name: str, to: str) -> tuple[tarfile.TarInfo, bytes]:
    """Return a symbolic link in a tar archive."""
    return member(name, type=tarfile.SYMTYPE, linkname=to)


def tree(compression: str) -> bytes:
    """Return a tar archive of everything that may be in one."""
    return tar(
        member("./", type=tarfile.DIRTYPE, mode=0o755),
        member("bin", type=tarfile.DIRTYPE, mode=0o2775),
        member("bin/tool", b"#!/bin/sh\n", mode=0o4777, uid=7, gid=7),
        link("lib/tool", "../bin/tool"),
        member("ü" * 120, b"long name", mode=0o640),
        compression=compression,
    )


def as_zip() -> bytes:
    """Return the same as a zip archive."""
    return zipped(
        ("bin/", 0o42775, b""),
        ("bin/tool", 0o104777, b"#!/bin/sh\n"),
        ("lib/tool", 0o120777, b"../bin/tool"),
        ("ü" * 120, 0o100640, b"long name"),
    )


def pack(form: str) -> bytes:
    """Return that archive as compressed tar or as zip."""
    return as_zip() if form == "zip" else tree(form)


def extract(content: bytes, root: Path, path: str = "/opt") -> None:
    """Unpack beneath the root, and see that nothing is left to do then."""
    action = ExtractArchive(path=path, content=content)
    asyncio.run(action.apply(Target(System(root), root, "key", frozenset())))
    assert action.preview(System(root)).effect is Effect.NONE


@as_root
@pytest.mark.parametrize("form", [*COMPRESSIONS, "zip"])
def test_an_archive_is_unpacked_with_its_modes(form: str, tmp_path: Path) -> None:
    """All belongs to root; set-user-ID and the right to write for others are dropped."""
    packed = pack(form)
    change = ExtractArchive(path="/opt", content=packed).preview(System(tmp_path))
    assert change.summary == "new directory with 4 members"
    assert change.diff.splitlines()[:3] == ["+directory bin", "+file bin/tool", "+link lib/tool"]
    extract(packed, tmp_path)
    files = RootFS(tmp_path)
    found = {path: files.status(path) for path in ("/opt/bin", "/opt/bin/tool", "/opt/" + "ü" * 120)}
    assert [(there.mode, there.uid) for there in found.values() if there] == [(0o755, 0), (0o755, 0), (0o640, 0)]
    assert files.read("/opt/lib/tool", 100) == b"#!/bin/sh\n"


@as_root
def test_only_members_that_differ_are_shown_and_written(tmp_path: Path) -> None:
    """By content, mode, owner, kind, or where a link points."""
    extract(tree("gzip"), tmp_path)
    kept = (tmp_path / "opt/bin/tool").stat().st_ino
    (tmp_path / "opt" / ("ü" * 120)).write_bytes(b"long NAME")
    (tmp_path / "opt/lib/tool").unlink()
    (tmp_path / "opt/lib/tool").symlink_to("elsewhere")
    action = ExtractArchive(path="/opt", content=tree("gzip"))
    change = action.preview(System(tmp_path))
    assert change.summary == "2 of 4 members change"
    assert "-link lib/tool to elsewhere\n+link lib/tool to ../bin/tool\n" in change.diff
    extract(tree("gzip"), tmp_path)
    assert (tmp_path / "opt/bin/tool").stat().st_ino == kept


@as_root
def test_directories_that_are_there_keep_their_mode_and_links_to_them(tmp_path: Path) -> None:
    """An archive for `/` with `tmp` and `bin` in it does not break the system."""
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "bin").symlink_to("usr/bin")
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp").chmod(0o1777)
    packed = tar(
        member("bin", type=tarfile.DIRTYPE, mode=0o755),
        member("tmp", type=tarfile.DIRTYPE, mode=0o755),
        member("bin/tool", b"text", mode=0o755),
    )
    extract(packed, tmp_path, "/")
    assert (tmp_path / "usr/bin/tool").read_bytes() == b"text"
    assert (tmp_path / "bin").is_symlink()
    assert (tmp_path / "tmp").stat().st_mode & 0o7777 == 0o1777


@as_root
def test_a_link_in_the_place_of_a_file_is_replaced_and_not_followed(tmp_path: Path) -> None:
    """What it pointed to stays; a file in the place of a link gives way as well."""
    (tmp_path / "opt").mkdir()
    (tmp_path / "victim").write_text("kept")
    (tmp_path / "opt/file").symlink_to("/victim")
    (tmp_path / "opt/link").write_text("old")
    extract(tar(member("file", b"new"), link("link", "file")), tmp_path)
    assert (tmp_path / "victim").read_text() == "kept"
    assert (tmp_path / "opt/link").read_text() == "new"


HOSTILE = {
    "absolute name": tar(member("/etc/passwd", b"x")),
    "name upwards": tar(member("a/../../etc/passwd", b"x")),
    "absolute link": tar(link("a", "/etc")),
    "link upwards": tar(link("a/b", "../../etc")),
    "link that goes down and up": tar(link("a", "b/../c")),
    "empty link": tar(link("a", "")),
    "member beneath a link": tar(link("a", "."), member("a/b", b"x")),
    "member beneath a later link": tar(member("a/b", b"x"), link("a", ".")),
    "member beneath a file": tar(member("a", b"x"), member("a/b", b"x")),
    "file and link of one name": tar(link("a", "b"), member("a", b"x")),
    "hard link": tar(member("a", b"x"), member("b", type=tarfile.LNKTYPE, linkname="a")),
    "character device": tar(member("null", type=tarfile.CHRTYPE, devmajor=1, devminor=3)),
    "block device": tar(member("sda", type=tarfile.BLKTYPE, devmajor=8)),
    "pipe": tar(member("pipe", type=tarfile.FIFOTYPE)),
    "zip: absolute name": zipped(("/etc/passwd", 0o100644, b"x")),
    "zip: name upwards": zipped(("../passwd", 0o100644, b"x")),
    "zip: absolute link": zipped(("a", 0o120777, b"/etc")),
    "zip: device": zipped(("null", stat.S_IFCHR | 0o666, b"")),
    "no archive": b"neither tar nor zip" * 100,
    "nothing": b"",
    "broken gzip": b"\x1f\x8b" + b"x" * 100,
    "broken xz": b"\xfd7zXZ\0" + b"x" * 100,
    "broken zip": b"PK\x03\x04" + b"x" * 100,
    "broken second header": tar(member("a", b"x" * 512))[:1024] + b"x" * 512,
    "broken header after a long name": tarfile.TarInfo("n" * 200).tobuf(tarfile.GNU_FORMAT)[:1024] + b"x" * 512,
    "end within a header": tar(member("a", b"x" * 512))[:1024] + b"x" * 100,
    "negative size": tar(member("a", b"x"))[:1024] + negative(tarfile.REGTYPE),
    "negative size of a long name": tar(member("a", b"x"))[:1024] + negative(tarfile.GNUTYPE_LONGNAME),
    "end within a member": tar(member("a", b"x" * 4096))[:1024],
    "gzip cut short": tar(member("a", bytes(range(256)) * 16), compression="gzip")[:-20],
    "gzip with a wrong checksum": tar(member("a", b"x"), compression="gzip")[:-8] + b"\0" * 8,
}


@as_root
@pytest.mark.parametrize("packed", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_or_broken_archive_is_refused_before_anything_is_unpacked(packed: bytes, tmp_path: Path) -> None:
    """A good member before the bad one is not unpacked either; the preview says that it would be refused."""
    action = ExtractArchive(path="/opt", content=packed, name="site.tar")
    assert action.preview(System(tmp_path)).summary.startswith("would be refused: site.tar: the ")
    with pytest.raises(ActionError):
        asyncio.run(action.apply(Target(System(tmp_path), tmp_path, "key", frozenset())))
    assert not list(tmp_path.iterdir())


def sized(size: int) -> bytes:
    """Return a gzip bomb: a file of zeros."""
    return tar(member("zeros", bytes(size)), compression="gzip")


@pytest.mark.parametrize(
    ("bound", "value", "packed"),
    [
        ("MAX_SIZE", 1000, tar(member("a", bytes(600)), member("b", bytes(600)))),
        ("MAX_FILE_SIZE", 1000, sized(1001)),
        ("MAX_FILE_SIZE", 1000, zipped(("zeros", 0, bytes(1001)))),
        ("MAX_MEMBERS", 2, tar(member("a"), member("b"), member("c"))),
        ("MAX_HEADER", 1000, tar(member("n" * 2000))),
        ("MAX_HEADER", 1000, tar(member("a")) + bytes(10_000)),
    ],
    ids=["total", "file", "file in zip", "members", "header", "behind the end"],
)
def test_an_archive_beyond_the_bounds_is_refused(
    bound: str, value: int, packed: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Total size, size of a file, number of members, headers, and what is behind the end."""
    check_members("archive", packed)
    monkeypatch.setattr(archives, bound, value)
    with pytest.raises(ActionError, match="archive holds"):
        check_members("archive", packed)


def test_a_header_that_lies_about_its_size_takes_no_memory() -> None:
    """A name of 8 GiB is refused before it is read."""
    header = tarfile.TarInfo("long")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 8 * 1024**3 - 1
    with pytest.raises(ActionError, match="header of 8589934591 bytes"):
        check_members("archive", header.tobuf(tarfile.GNU_FORMAT))


@pytest.mark.parametrize("form", [*COMPRESSIONS, "zip"])
@settings(max_examples=100)
@given(damage=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8))
def test_no_damage_makes_the_reader_fail_otherwise(form: str, damage: list[tuple[float, int]]) -> None:
    """An archive with any bytes changed is read or refused, and what is read stays inside."""
    packed = bytearray(pack(form))
    for place, value in damage:
        packed[int(place * len(packed))] = value
    try:
        members = list(read_members("archive", bytes(packed)))
    except ActionError:
        return
    for found in members:
        assert not found.path.startswith("/")
        assert ".." not in found.path.split("/")
        assert found.mode & ~0o755 == 0


@as_root
@settings(max_examples=50)
@given(
    contents=st.dictionaries(
        st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map("/".join), st.binary(max_size=600), max_size=6
    ),
    mode=st.integers(0, 0o7777),
)
def test_after_unpacking_nothing_is_left_to_do(contents: dict[str, bytes], mode: int) -> None:
    """Any archive of files is unpacked as it is, or refused since a file is beneath another."""
    packed = tar(*(member(name, content, mode=mode) for name, content in contents.items()))
    beneath = any(other.startswith(f"{name}/") for name in contents for other in contents)
    with tempfile.TemporaryDirectory() as folder:
        if beneath:
            with pytest.raises(ActionError, match="beneath the file"):
                extract(packed, Path(folder))
            return
        extract(packed, Path(folder))
        for name, content in contents.items():
            assert Path(folder, "opt", name).read_bytes() == content


def test_members_are_read_one_after_another() -> None:
    """The second is not looked at before the first is taken."""
    members = read_members("archive", tar(member("a", b"x"), member("/b", b"x")))
    assert next(members).kind is Kind.FILE
    with pytest.raises(ActionError, match="absolute name"):
        next(members)
