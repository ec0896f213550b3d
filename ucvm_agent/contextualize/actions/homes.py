"""Home directories, made from the skeleton."""

from __future__ import annotations

import os
from pathlib import PurePosixPath

from ucvm_agent.errors import ActionError
from ucvm_agent.files.private_file import sync_folder
from ucvm_agent.files.rootfs import Kind, RootFS

SKELETON = "/etc/skel"
_LIMIT = 16 * 1024 * 1024


def make_home(files: RootFS, home: str, *, mode: int, uid: int, gid: int) -> None:
    """Make a home with a copy of the skeleton that belongs to the user.

    It is built beside its place and put there as a whole, so that there is never half a home: what a crash
    leaves is completed by the next call. A home that is there already is left as it is.

    Raises:
        ActionError: the system refuses.
    """
    if files.status(home) is not None:
        return
    place = PurePosixPath("/") / files.real(home).relative_to(files.root)
    staging = str(place.with_name(f".{place.name}.ucvm-new"))
    files.make_directory(staging, mode=0o700, uid=0, gid=0)
    _copy(files, SKELETON, staging, uid, gid)
    files.make_directory(staging, mode=mode, uid=uid, gid=gid)
    folder = files.real(str(place.parent))
    try:
        (folder / PurePosixPath(staging).name).rename(folder / place.name)
        sync_folder(folder)
    except OSError as error:
        raise ActionError(f"cannot be put in place: {error.strerror}", where=home) from error


def _copy(files: RootFS, source: str, target: str, uid: int, gid: int) -> None:
    for name in files.names(source):
        old, new = f"{source}/{name}", f"{target}/{name}"
        there = files.status(old, follow=False)
        if there is None:
            continue
        if there.kind is Kind.DIRECTORY:
            files.make_directory(new, mode=there.mode, uid=uid, gid=gid)
            _copy(files, old, new, uid, gid)
        elif there.kind is Kind.LINK:
            files.make_link(new, there.link)
            os.chown(files.real(target) / name, uid, gid, follow_symlinks=False)
        elif there.kind is Kind.FILE:
            files.write(new, files.read(old, _LIMIT) or b"", mode=there.mode, uid=uid, gid=gid)
