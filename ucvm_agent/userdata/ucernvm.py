"""The bootloader's block (references/ucernvm-boot.md, sections 3 and 9).

    [ucernvm-begin]
    key=value
    [ucernvm-end]

The bootloader wrote the block into a file that its shell read in, so that quotes vanished and `;`, `$` and
blanks acted. Here nothing is ever evaluated: one pair of quotes around a value is taken off, all else stands
for itself, and a warning says where the shell would have done something else.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ucvm_agent.userdata.context import Place
from ucvm_agent.userdata.formats import section_word
from ucvm_agent.userdata.problems import Problems
from ucvm_agent.userdata.written import Written

BEGIN, END = "[ucernvm-begin]", "[ucernvm-end]"

_TRUE, _FALSE = ("yes", "on", "true"), ("no", "off", "false")
_QUOTED = re.compile(r"""(?P<quote>['"])(?P<inner>.*)(?P=quote)""", re.DOTALL)
_ACTING = re.compile(r"[\s;|&$`<>()'\"\\]")
_ACTING_IN_QUOTES = re.compile(r"[$`\\\"]")


def parse_block(rows: Sequence[tuple[int, str]], part: str, last_line: int, problems: Problems) -> Written:
    """Return the block as a mapping of keys in lower case to text; `yes` and the like are `1` and `0`.

    Arguments:
        rows: number (from 1) and text of each line; the markers may be missing if a MIME type says what it is.
        part: the part that the lines are in.
        last_line: number of the last line of the part if it has no line feed, else 0; the original lost it.
    """
    begin = Place(part, rows[0][0], 1)
    keys: dict[str, Written] = {}
    marked = ended = False
    for number, line in rows:
        place = Place(part, number, 1)
        if section_word(line) is not None:
            marker = BEGIN if not marked else END
            marked, ended = True, marker == END
            _check_marker(line, marker, place, problems)
            continue
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        key, separator, text = line.partition("=")
        if not separator or not key.strip():
            problems.warning(place, "this line of the block has no effect: expected key=value", "or # for a comment")
            continue
        if marked and number == last_line:
            problems.warning(place, "the original lost this last line without a line feed", f"end with a line {END}")
        _set_key(keys, key, text, place, problems)
    if marked and not ended:
        problems.warning(begin, f"{BEGIN} has no {END}; it reaches to the next section or the end", f"add a line {END}")
    return Written(_rename_path(keys, problems), begin)


def _check_marker(line: str, marker: str, place: Place, problems: Problems) -> None:
    if line == marker:
        return
    message = f"the original did not recognise {marker} written like this"
    hint = "end lines with LF, not CR LF" if line == f"{marker}\r" else f"write {marker} alone on its line"
    problems.warning(place, message, hint)


def _set_key(keys: dict[str, Written], key: str, text: str, place: Place, problems: Problems) -> None:
    """Store the value of a key as it was meant."""
    name = key.strip().lower()
    if key != key.strip() or text[:1] in (" ", "\t"):
        message = f"blanks around the = of {name} are ignored; the original could not read the line"
        problems.warning(place, message, f"write {name}=value")
    if name in keys:
        message = f"{name} is written again; line {keys[name].place.line} has no effect"
        problems.warning(place, message, "write it once")
    keys[name] = Written(_read_value(name, text, place, problems), place)


def _read_value(name: str, text: str, place: Place, problems: Problems) -> str:
    value = text.strip()
    quoted = _QUOTED.fullmatch(value)
    inner = quoted["inner"] if quoted else value
    if (word := inner.lower()) in _TRUE + _FALSE:
        number = "1" if word in _TRUE else "0"
        if text.removesuffix("\r").lstrip().lower() != word:
            message = f"{name} is taken as {number}; the original did not recognise the word with more around it"
            problems.warning(place, message, f"write {name}={number}")
        return number
    single = quoted is not None and quoted["quote"] == "'"
    acting = (_ACTING_IN_QUOTES if quoted else _ACTING).search(inner)
    if acting is not None and not (single and "'" not in inner):
        message = f"the value of {name} is taken as it is written; in the original the shell read it"
        problems.warning(place, message, f'write {name}="…" around it' if not quoted else "avoid $, ` and \\")
    return inner


def _rename_path(keys: dict[str, Written], problems: Problems) -> dict[str, Written]:
    """Take `cvmfs_path`, which some documentation says, for the `cernvm_path` that the bootloader reads."""
    if (mistaken := keys.pop("cvmfs_path", None)) is None:
        return keys
    if "cernvm_path" in keys:
        message = "cvmfs_path has no effect beside cernvm_path, in the original neither"
        problems.warning(mistaken.place, message, "remove it")
        return keys
    message = "cvmfs_path is taken for cernvm_path; the original ignored it"
    problems.warning(mistaken.place, message, "write cernvm_path")
    return {**keys, "cernvm_path": mistaken}
