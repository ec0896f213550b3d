"""Scripts in user-data (references/amiconfig.md, section 5; references/clouds.md, section 5.2).

A script's interpreter line says when it runs: `#!/bin/sh.before` before the other contextualizers, all else
after them. Those interpreters were links that only CernVM images had, so that the line is rewritten.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import replace

from ucvm_agent.userdata.context import Frequency, Place, Script, Stage
from ucvm_agent.userdata.formats import Format, inner_format
from ucvm_agent.userdata.piece import Piece
from ucvm_agent.userdata.problems import Problems
from ucvm_agent.userdata.shell import Quotation, ends_by_itself, is_shell

_SHELL = "#!/bin/sh"
_SUFFIX = re.compile(r"\.(?:before|after)(?=\s|$)")
_BEFORE = re.compile(r"#!.*sh.*before")
_RAN = re.compile(r"#!.*sh(?:.*before|.*after|$)")
_FREQUENCIES = {
    "text/x-shellscript-per-boot": Frequency.BOOT,
    "text/x-shellscript-per-once": Frequency.ONCE,
}


def read_script(piece: Piece, lines: list[str], place: Place, *, mixed: bool, problems: Problems) -> Script:
    """Return the script that a part consists of or begins with.

    Arguments:
        lines: its lines without line feeds; what was no UTF-8 in surrogate escapes.
        place: where the first of them is.
        mixed: a section or cloud-config follows it in the same text; the original ran on into it.
    """
    lines = _without_returns(lines, place, problems)
    lines = _without_tail(lines) if mixed else lines
    if not lines[0].startswith("#!") or not lines[0][2:].strip():
        problems.warning(place, f"the script names no interpreter; {_SHELL[2:]} is used", f"begin with {_SHELL}")
        lines = [_SHELL, *lines[lines[0].startswith("#!") :]]
    elif not piece.content_type and not _RAN.match(lines[0]):
        message = "the original never ran a script with this interpreter line; it is run after contextualization"
        problems.warning(place, message, f"write {_SHELL}, {_SHELL}.before or {_SHELL}.after for old images")
    if mixed and not ends_by_itself(lines):
        message = "the script has no exit before what follows it; the original ran those lines as commands"
        problems.warning(replace(place, line=place.line + len(lines) - 1), message, "end the script with exit 0")
    stage = Stage.BEFORE if _BEFORE.match(lines[0]) else Stage.AFTER
    lines[0] = _SUFFIX.sub("", lines[0])
    frequency = _FREQUENCIES.get(piece.content_type, Frequency.INSTANCE)
    return Script(piece.name, _encode(lines), stage, frequency, place)


def read_boothook(piece: Piece, lines: list[str], place: Place, problems: Problems) -> Script:
    """Return a boothook: run early at each boot, as it is but for its first line, by the shell if it names nothing."""
    skipped = int(lines[0].startswith("#cloud-boothook"))
    lines = _without_returns(lines[skipped:], place, problems)
    if not lines or not lines[0].startswith("#!"):
        lines.insert(0, _SHELL)
    return Script(piece.name, _encode(lines), Stage.BEFORE, Frequency.BOOT, place)


def find_unreached(lines: Sequence[str]) -> int | None:
    """Return where a second script begins in a shell script that has left (`exit`, `exec`) before it comes to it."""
    quotation, left = Quotation(), False
    for position, line in enumerate(lines if is_shell(lines[0]) else ()):
        if not quotation.inside:
            if left and inner_format(line) is Format.SCRIPT:
                return position
            if line.strip() and not line.lstrip().startswith("#"):
                left = ends_by_itself([line])
        quotation.read(line)
    return None


def rename(script_name: str, taken: Collection[str]) -> str:
    """Return a name for a script that is usable as a file name and is none of those that are taken."""
    base = name = re.sub(r"[^\w.+@-]", "_", script_name)
    count = 1
    while name in taken:
        count += 1
        name = f"{base}-{count}"
    return name


def _without_returns(lines: list[str], place: Place, problems: Problems) -> list[str]:
    if not lines or not lines[0].endswith("\r"):
        return list(lines)
    problems.warning(place, "the lines of the script end in CR LF, and no shell reads that", "save it with LF")
    return [line.removesuffix("\r") for line in lines]


def _without_tail(lines: list[str]) -> list[str]:
    """Leave out the blank lines and comments between a script and what follows it."""
    end = len(lines)
    while end > 1 and (not lines[end - 1].strip() or lines[end - 1].startswith("#")):
        end -= 1
    return lines[:end]


def _encode(lines: list[str]) -> bytes:
    text = "\n".join(lines).encode("utf-8", "surrogateescape")
    return text if text.endswith(b"\n") else text + b"\n"
