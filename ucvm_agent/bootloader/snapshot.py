"""The snapshot of a repository that the machine stays on, kept on its scratch disk: a new one would change the system
beneath the machine's own changes (references/ucernvm-boot.md, sections 5 and 7).

The files are µCernVM's. `aux/cvmfs_snapshot` has the root hash, the tag and, which is ours, the repository, since the
hash of one is nothing in another. `aux/cvmfs_force_tag` has a tag that is to be taken instead.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from ucvm_agent.bootloader.console import say, shout
from ucvm_agent.files import whole_file

SNAPSHOT, FORCED = "aux/cvmfs_snapshot", "aux/cvmfs_force_tag"
_HASH = re.compile(r"[0-9a-f]{40,64}(-[a-z0-9]+)?")
_ATTRIBUTE = "user.root_hash"
"""Of a mounted repository."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is to be mounted.

    Arguments:
        root_hash: empty = the one that the tag has now.
        tag: empty = the newest.
    """

    root_hash: str = ""
    tag: str = ""


def choose(repository: str, tag: str, scratch: Path) -> Snapshot:
    """Return the snapshot that the machine stays on, or the one of the tag if it stays on none yet."""
    if forced := _lines(scratch / FORCED):
        return Snapshot(tag=forced[0])
    root_hash, kept_tag, of, *_ = (*_lines(scratch / SNAPSHOT), "", "", "")
    if not root_hash or of not in ("", repository):
        return Snapshot(tag=tag)
    if not _HASH.fullmatch(root_hash):
        shout(f"the snapshot that is kept in {SNAPSHOT} is damaged, the one of the tag is taken")
        return Snapshot(tag=tag)
    return Snapshot(root_hash, kept_tag)


def keep(repository: str, chosen: Snapshot, mounted: Path, scratch: Path) -> None:
    """Stay on what is mounted from now on, unless the machine does so already."""
    if chosen.root_hash:
        return
    try:
        root_hash = os.getxattr(mounted, _ATTRIBUTE).decode()
        whole_file.write(scratch / SNAPSHOT, f"{root_hash}\n{chosen.tag}\n{repository}\n".encode(), mode=0o666)
    except (OSError, ValueError) as error:
        shout(f"the snapshot cannot be kept, the next start may have another one: {error}")
    else:
        say(f"the machine stays on the snapshot {root_hash} of {repository}")


def _lines(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text().splitlines()]
    except (OSError, ValueError):
        return []
