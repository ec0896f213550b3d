"""Images of volumes, made by the programs that make them everywhere."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

SECTOR = 2048
FAT_SIZES = {12: 2, 16: 16, 32: 64}
"""MiB; the kind of FAT follows from the number of clusters."""

KINDS = (
    "rock-ridge",
    "joliet",
    "both",
    "xorriso",
    "udf-bridge",
    "udf",
    "fat12",
    "fat16",
    "fat32",
    "ext2",
    "ext3",
    "ext4",
)

_OPTIONS = {
    "plain": [],
    "rock-ridge": ["-R"],
    "joliet": ["-J"],
    "both": ["-J", "-R"],
    "udf-bridge": ["-udf"],
    "udf": ["-udf"],
}


def make_image(path: Path, files: Mapping[str, bytes], *, kind: str = "both", label: str = "DATA") -> Path:
    """Make a volume of that kind with these files; `kind` is one of `KINDS`, or `plain` for ISO 9660 alone."""
    tree = path.with_name(path.name + ".tree")
    tree.mkdir()
    for name, content in files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(content)
    if kind.startswith("fat"):
        _make_fat(path, tree, int(kind.removeprefix("fat")), label)
    elif kind.startswith("ext"):
        size = 512 + 2 * sum(map(len, files.values())) // 1024 + 4 * len(files)
        _run("mke2fs", "-q", "-t", kind, "-L", label, "-d", tree, path, f"{size}K")
    elif kind == "xorriso":
        _run("xorriso", "-as", "mkisofs", "-quiet", "-J", "-R", "-V", label, "-o", path, tree)
    else:
        _run("genisoimage", "-quiet", *_OPTIONS[kind], "-V", label, "-o", path, tree)
    if kind == "udf":
        _take_away_iso(path)
    return path


@contextmanager
def loop_device(image: Path) -> Iterator[str]:
    """Yield the loop device of an image."""
    device = _run("losetup", "--find", "--show", "--read-only", image).strip()
    try:
        yield device
    finally:
        _run("losetup", "--detach", device)


def _make_fat(path: Path, tree: Path, bits: int, label: str) -> None:
    with path.open("wb") as file:
        file.truncate(FAT_SIZES[bits] * 1024 * 1024)
    _run("mkfs.fat", "-F", bits, "-n", label, path)
    for entry in sorted(tree.iterdir()):
        _run("mcopy", "-s", "-i", path, entry, "::")


def _take_away_iso(path: Path) -> None:
    """Leave the UDF half of a disc that is both: its recognition sequence moves to where that of ISO 9660 was."""
    image = bytearray(path.read_bytes())
    first = 16
    while image[first * SECTOR + 1 : first * SECTOR + 6] != b"BEA01":
        first += 1
    sequence = image[first * SECTOR : (first + 3) * SECTOR]
    image[16 * SECTOR : (first + 3) * SECTOR] = bytes((first + 3 - 16) * SECTOR)
    image[16 * SECTOR : 19 * SECTOR] = sequence
    path.write_bytes(image)


def _run(*words: object) -> str:
    return subprocess.run([str(word) for word in words], check=True, capture_output=True, text=True).stdout
