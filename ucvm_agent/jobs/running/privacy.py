"""What is everybody's on a machine, and a job has of its own: /tmp, /var/tmp, /dev/shm, and shared memory of System V.

The supervisor leaves the namespaces of the machine, and all that it starts stays with it. What is mounted on the
machine later on, as by the automounter of CernVM-FS, still comes in; nothing goes out (mount_namespaces(7)). The
folders lie beneath that of control, so they count for the job's disk, nobody else can reach them, and they go with it.
"""

from __future__ import annotations

from pathlib import Path

from ucvm_agent.jobs.running.kernel import (
    CLONE_NEWIPC,
    CLONE_NEWNS,
    MS_BIND,
    MS_NODEV,
    MS_NOSUID,
    MS_REC,
    MS_SLAVE,
    leave_namespaces,
    mount,
)

FOLDER = "temporary"
"""In the folder of control: what the job sees as its places for temporary files."""

_PLACES = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108 - these are what is made private
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - the same


def make_private(control: Path, memory: int) -> str:
    """Give this process, and all that it starts, those places; return why not, or an empty string.

    Arguments:
        memory: bytes that shared memory may have; 0 is half of the machine's.
    """
    here = control.resolve()
    for place in _PLACES:
        if here.is_relative_to(place.resolve()):
            return f"the jobs work beneath {place}"
    try:
        leave_namespaces(CLONE_NEWNS | CLONE_NEWIPC)
        mount("none", "/", "none", MS_REC | MS_SLAVE)
        for place in _PLACES:
            _cover(place, here / FOLDER / place.relative_to("/"))
        if _SHARED_MEMORY.is_dir():
            mount("tmpfs", _SHARED_MEMORY, "tmpfs", MS_NOSUID | MS_NODEV, f"mode=1777,size={memory or '50%'}")
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _cover(place: Path, folder: Path) -> None:
    if place.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o1777)
        mount(folder, place, "none", MS_BIND)
