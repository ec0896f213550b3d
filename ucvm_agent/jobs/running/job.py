"""What a job is, and what no job may ask for (references/copilot-protocol.md, sections 2.4 and 6.6)."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field

from ucvm_agent.errors import JobRefused

WRAPPER = "_wrapper_.sh"
"""The script in the job's folder that runs its command."""

RESERVED = frozenset({WRAPPER, "stdout", "stderr", "resources", "validate_stdout", "validate_stderr"})
"""Names in the job's folder that are written by us."""

MAX_NAME = 1024
"""Bytes of a name with all its folders."""

_MAX_STEP = 255  # NAME_MAX of the kernel
_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_PACKAGE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*(?:/[A-Za-z0-9_][A-Za-z0-9_.+-]*)*")


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job whose names can be trusted to stay in its folder.

    Arguments:
        id: of the job; also the name of its folder and of its archive.
        command: file in the folder that is run.
        arguments: shell text by design; goes behind the command as it is.
        environment: shell text by design; goes before the command as it is.
        packages: as the manager writes them: `VO_NAME@PACKAGE::VERSION`.
        input_files: names in the folder, and on the server they come from.
        chirp_url, input_dir, output_dir: where files come from and go to; checked by those who transfer them.
        validation_script: file in the folder that is run after the command; empty if there is none.
        manager: who gave us the job.
        data: the manager's own, echoed as it is.

    Raises:
        JobRefused: a name is not what it has to be; the message tells which.
    """

    id: str
    command: str
    arguments: str = field(default="", repr=False)
    environment: str = field(default="", repr=False)
    packages: tuple[str, ...] = ()
    input_files: tuple[str, ...] = ()
    chirp_url: str = ""
    input_dir: str = ""
    output_dir: str = ""
    validation_script: str = ""
    manager: str = ""
    data: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        check_id(self.id)
        _check_name("command", self.command)
        if self.validation_script:
            _check_name("validation script", self.validation_script)
        for name in self.input_files:
            _check_name("input file", name)
            if name.split("/")[0] in RESERVED | {self.archive}:
                raise JobRefused(f"the input file {name!r} has a name that is ours")
        for package in self.packages:
            package_name(package)

    @property
    def archive(self) -> str:
        """The name of the archive of the folder."""
        return archive_name(self.id)


def archive_name(job_id: str) -> str:
    """Return the name of the archive of a job."""
    return f"{job_id}.tgz"


def check_id(job_id: str) -> None:
    """Raise JobRefused unless `job_id` is a file name by itself, and harmless in every place."""
    if not _ID.fullmatch(job_id) or job_id in {".", ".."}:
        raise JobRefused(f"{job_id[:200]!a} is no job id", hint="1 to 128 letters, digits, dots, dashes, underscores")


def package_name(package: str) -> str:
    """Return the name by which `alienv` knows a package: `PACKAGE/VERSION` (references, section 3.4).

    Raises:
        JobRefused: it has characters that no package has.
    """
    name = package.rpartition("@")[2].replace("::", "/", 1)
    if not _PACKAGE.fullmatch(name):
        raise JobRefused(f"{package[:200]!a} is no name of a package", hint="VO_NAME@PACKAGE::VERSION")
    return name


def _check_name(what: str, name: str) -> None:
    """Refuse what is not the plain name of a file in a folder or in a folder beneath it."""
    shown = f"the name of the {what}, {name[:200]!a},"
    if not name or name.startswith("-"):
        raise JobRefused(f"{shown} is empty or begins with a dash")
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in name):
        raise JobRefused(f"{shown} holds a control character")
    steps = name.split("/")
    if any(step in {"", ".", ".."} for step in steps):
        raise JobRefused(f"{shown} leads out of the folder, or is not written plainly")
    if len(name.encode()) > MAX_NAME or any(len(step.encode()) > _MAX_STEP for step in steps):
        raise JobRefused(f"{shown} is too long")
