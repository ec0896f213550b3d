"""Layers for a machine, and what a user does with the root that is made of them."""

from __future__ import annotations

import subprocess
from pathlib import Path

CHANGE = "cat etc/release; echo changed > etc/release; rm usr/gone; mkdir srv/new; echo mine > srv/new/file"
LOOK = "cat etc/release srv/new/file; ls usr; cat mnt/.ro/etc/release; cat mnt/.rw/persistent/etc/release"
CHANGED = "changed\nmine\nkept\nlayer\nchanged\n"
"""What `LOOK` shows after `CHANGE`."""


def make_tree(tree: Path) -> Path:
    """Make a small system."""
    for folder in ("etc", "usr", "srv", "mnt", "cvm4/etc", "cvm4/mnt"):
        (tree / folder).mkdir(parents=True)
    (tree / "etc/release").write_text("layer\n")
    (tree / "cvm4/etc/release").write_text("layer 4\n")
    (tree / "usr/gone").write_text("")
    (tree / "usr/kept").write_text("")
    (tree / "out").symlink_to("/etc")
    return tree


def make_layer(tree: Path, kind: str, label: str = "layer") -> Path:
    """Make an image of a system, of the kind squashfs, erofs or ext4."""
    image = tree.with_name(f"{label}.{kind}")
    commands: dict[str, list[str | Path]] = {
        "squashfs": ["mksquashfs", tree, image, "-quiet", "-no-progress"],
        "erofs": ["mkfs.erofs", image, tree],
        "ext4": ["mke2fs", "-q", "-t", "ext4", "-L", label, "-d", tree, image, "16M"],
    }
    subprocess.run(commands[kind], check=True, capture_output=True)
    return image
