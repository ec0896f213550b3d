"""Just enough of the shell's grammar to know whether a line is code or text.

A here-document or a quotation may hold what looks like a section or another script, and must stay whole.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

# The engine remembers each repetition of a group, therefore only a thousand at a time. Possessive quantifiers would not
# have to, but are wrong before Python 3.11.5 (https://github.com/python/cpython/issues/106052).
_PLAIN = re.compile(r"""(?:[^'"\\#<]+|'[^']*'|"[^"\\]*"|\\.){1,1000}""")
_QUOTED = {"'": re.compile(r"[^']+"), '"': re.compile(r'(?:[^"\\]+|\\.){1,1000}')}
_TOKEN = re.compile(
    r"""(?P<here><<(?P<dash>-?)[ \t]*(?P<mark>'[^'\n]+'|"[^"\n]+"|\\?[A-Za-z_][\w.-]*))
    | <<<                                       # a here-string is no here-document
    | (?P<quote>['"])
    | (?P<comment>(?:^|(?<=[\s;&|(]))\#.*)
    | .                                         # $#, a single < and the like
    """,
    re.VERBOSE,
)
_SHELL = re.compile(r"#!\s*(?:\S*/)?(?:env\s+(?:-\S+\s+)*)?(?:ba|da|a|k|mk|z|pdk|rba)?sh(?:[.\s]|$)")
_ENDING = re.compile(r"\s*(?:exit|exec)\b")


def is_shell(interpreter_line: str) -> bool:
    """Tell whether an interpreter line names a shell of the Bourne family."""
    return _SHELL.match(interpreter_line) is not None


def ends_by_itself(lines: Sequence[str]) -> bool:
    """Tell whether the last line of a script that is neither blank nor a comment leaves it (`exit`, `exec`)."""
    for line in reversed(lines):
        if line.strip() and not line.lstrip().startswith("#"):
            return _ENDING.match(line) is not None
    return False


class Quotation:
    """Whether the next line of a shell script begins inside a here-document or a quotation."""

    def __init__(self) -> None:
        self._quote = ""
        self._here: list[tuple[str, bool]] = []

    @property
    def inside(self) -> bool:
        """True if the next line is text and not code."""
        return bool(self._quote or self._here)

    def read(self, line: str) -> None:
        """Take the next line of the script."""
        if self._here and not self._quote:
            mark, dash = self._here[0]
            if (line.lstrip("\t") if dash else line).rstrip("\r") == mark:
                self._here.pop(0)
            return
        position = 0
        while position < len(line):
            position = self._skip_quotation(line, position) if self._quote else self._read_code(line, position)

    def _skip_quotation(self, line: str, position: int) -> int:
        if match := _QUOTED[self._quote].match(line, position):
            return match.end()
        if line[position] == self._quote:
            self._quote = ""
        return position + 1

    def _read_code(self, line: str, position: int) -> int:
        if plain := _PLAIN.match(line, position):
            return plain.end()
        match = _TOKEN.match(line, position)
        if match is None or match["comment"]:
            return len(line)
        if match["quote"]:
            self._quote = match["quote"]
        elif match["here"]:
            self._here.append((match["mark"].strip("'\"").lstrip("\\"), bool(match["dash"])))
        return match.end()
