"""Files are read from every kind of volume, and no volume does more harm than not being read."""

from __future__ import annotations

import re
import struct
import subprocess
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.sources.images import KINDS, loop_device, make_image
from ucvm_agent.errors import SourceAbsent, SourceError, SourceRefused, SourceUnavailable
from ucvm_agent.sources.base import MAX_BODY
from ucvm_agent.sources.volumes import medium
from ucvm_agent.sources.volumes.medium import open_medium
from ucvm_agent.sources.volumes.superblock import read_superblock
from ucvm_agent.sources.volumes.volume import open_volume

FILES = {
    "openstack/latest/user_data": b"#!/bin/sh\n" + bytes(range(256)) * 100,
    "openstack/latest/meta_data.json": b"{}",
    "user-data": b"",
    "A name that is longer than 8.3.txt": b"long",
    "cernvm/extra-user-data": b"[cernvm]\n",
    **{f"many/file-{number:03d}": str(number).encode() for number in range(100)},
}


def read(path: object, *names: str) -> list[bytes | None]:
    with open_volume(str(path), threading.Event()) as volume:
        return [volume.read(name) for name in names]


@pytest.mark.parametrize("kind", KINDS)
def test_every_file_is_read_from_every_kind_of_volume(tmp_path: Path, kind: str) -> None:
    """By its long name; what is not there, or is a folder, is not a file."""
    image = make_image(tmp_path / "image", FILES, kind=kind, label="CONFIG-2")
    assert dict(zip(FILES, read(image, *FILES), strict=True)) == FILES
    assert read(image, "openstack", "openstack/latest/absent", "user-data/x", "absent/user_data") == [None] * 4
    with open_medium(str(image), threading.Event()) as medium:
        superblock = read_superblock(medium)
    assert superblock is not None
    assert superblock.label == ("" if kind == "udf" else "CONFIG-2")


def test_plain_iso_has_short_names_of_any_case(tmp_path: Path) -> None:
    """Without Rock Ridge and Joliet there are capitals and versions, which nobody wants to write."""
    image = make_image(tmp_path / "image", {"context.sh": b"X=1\n"}, kind="plain")
    assert read(image, "context.sh", "CONTEXT.SH", "context") == [b"X=1\n", b"X=1\n", None]


@pytest.mark.parametrize("kind", ["both", "fat16"])
def test_block_device_is_read_like_an_image(tmp_path: Path, kind: str) -> None:
    """A loop device stands for the drive."""
    image = make_image(tmp_path / "image", FILES, kind=kind)
    with loop_device(image) as device:
        assert read(device, "user-data", "cernvm/extra-user-data") == [b"", b"[cernvm]\n"]


@pytest.mark.parametrize("kind", ["both", "udf", "fat32", "ext2", "ext4"])
def test_oversized_file_is_refused(tmp_path: Path, kind: str) -> None:
    """The bound is told; a file that just fits is read."""
    files = {"fits": bytes(MAX_BODY), "large": bytes(MAX_BODY + 1)}
    image = make_image(tmp_path / "image", files, kind=kind)
    assert read(image, "fits") == [files["fits"]]
    with pytest.raises(SourceRefused, match=str(MAX_BODY)):
        read(image, "large")


def test_links_are_not_followed(tmp_path: Path) -> None:
    """A link on a medium is no file."""
    (tmp_path / "image.tree").mkdir()
    (tmp_path / "image.tree" / "user-data").symlink_to("/etc/shadow")
    iso, ext = tmp_path / "iso", tmp_path / "ext"
    subprocess.run(["genisoimage", "-quiet", "-R", "-o", iso, tmp_path / "image.tree"], check=True)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", tmp_path / "image.tree", ext, "8M"], check=True)
    assert read(iso, "user-data") == read(ext, "user-data") == [None]


@pytest.mark.parametrize("kind", ["ext2", "ext4"])
def test_holes_pieces_and_small_blocks_of_ext(tmp_path: Path, kind: str) -> None:
    """A file in thousands of pieces, which need a tree or several levels of numbers, reads as it was written."""
    tree = tmp_path / "tree"
    tree.mkdir()
    with (tree / "sparse").open("wb") as file:
        for number in range(1500):
            file.seek(number * 8192)
            file.write(f"piece {number}".encode())
    content = (tree / "sparse").read_bytes()
    image = tmp_path / "image"
    subprocess.run(["mke2fs", "-q", "-t", kind, "-b", "1024", "-d", tree, image, "64M"], check=True)
    assert read(image, "sparse") == [content]


def test_tree_of_extents_that_leads_to_itself_is_refused(tmp_path: Path) -> None:
    """However deep it says it is."""
    image = make_image(tmp_path / "image", {"a": b"x" * 5000}, kind="ext4")
    content = bytearray(image.read_bytes())
    magic = b"\x0a\xf3\x01\x00\x04\x00"
    size = 1024 << content[1024 + 24]
    for match in re.finditer(magic, bytes(content)):
        start, block = match.start(), match.start() // size
        content[start : start + 24] = magic + struct.pack("<HIIIHH", 1, 0, 0, block, 0, 0)
        content[block * size : block * size + 24] = content[start : start + 24]
    image.write_bytes(content)
    with pytest.raises(SourceRefused):
        read(image, "a")


@pytest.mark.parametrize("path", ["", "/", "/".join(["folder"] * 40)])
def test_path_has_to_be_one_of_a_file(tmp_path: Path, path: str) -> None:
    """And not deeper than folders sensibly are."""
    image = make_image(tmp_path / "image", {"x": b""})
    with pytest.raises(SourceRefused):
        read(image, path)


def test_what_is_no_volume_is_absent_or_refused(tmp_path: Path) -> None:
    """Each with a reason that says what is wrong."""
    (tmp_path / "zeros").write_bytes(bytes(100_000))
    (tmp_path / "empty").touch()
    for name in ("zeros", "empty", "absent"):
        with pytest.raises(SourceAbsent):
            read(tmp_path / name, "x")
    with pytest.raises(SourceError):
        read(tmp_path, "x")
    with pytest.raises(SourceRefused):
        read("a\0b", "x")


def test_reading_ends_in_time_and_when_nobody_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between any two reads of the medium."""
    image = make_image(tmp_path / "image", FILES)
    stop = threading.Event()
    with open_volume(str(image), stop) as volume:
        stop.set()
        with pytest.raises(SourceUnavailable):
            volume.read("user-data-x") or volume.read("openstack/latest/user_data")
    monkeypatch.setattr(medium, "SECONDS", -1.0)
    with pytest.raises(SourceUnavailable, match="longer"):
        read(image, "user-data")
    monkeypatch.undo()
    monkeypatch.setattr(medium, "MAX_READ", 50_000)
    with pytest.raises(SourceRefused, match="50000"):
        read(image, *FILES)


def test_circle_in_an_allocation_table_comes_to_an_end(tmp_path: Path) -> None:
    """A folder whose last cluster leads back to its first."""
    image = make_image(tmp_path / "image", FILES, kind="fat16")
    content = bytearray(image.read_bytes())
    reserved = int.from_bytes(content[14:16], "little") * 512
    for cluster in range(2, 400):
        entry = reserved + cluster * 2
        if content[entry : entry + 2] >= b"\xf8\xff":
            content[entry : entry + 2] = cluster.to_bytes(2, "little")
    image.write_bytes(content)
    assert read(image, "cernvm/absent", "many/absent") == [None, None]


@pytest.fixture(scope="module", params=["rock-ridge", "joliet", "udf", "fat12", "fat32", "ext2", "ext4"])
def sound(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An image, as far as there is anything in it."""
    image = make_image(tmp_path_factory.mktemp("sound") / "image", {"a/b": b"x" * 5000}, kind=request.param)
    return image.read_bytes().rstrip(b"\0")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_volume_raises_nothing_but_errors_of_ours(sound: bytes, tmp_path: Path, data: st.DataObject) -> None:
    """Whatever bytes of it are changed, and wherever it is cut off, reading ends."""
    content = bytearray(sound)
    used = [position for position, byte in enumerate(content) if byte]
    for _ in range(data.draw(st.integers(1, 8))):
        near = data.draw(st.sampled_from(used)) + data.draw(st.integers(-4, 4))
        content[near % len(content)] = data.draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF, 2, 32, 255]))
    cut = data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))
    image = tmp_path / "damaged"
    image.write_bytes(content[:cut] + bytes(data.draw(st.sampled_from([0, 2048, 300_000]))))
    with suppress(SourceError):
        read(image, "a/b", "a", "absent/b")
