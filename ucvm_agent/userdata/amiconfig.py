"""amiconfig's INI sections (references/amiconfig.md, sections 3 and 4).

The rules are those of the original's sanitizer and parser: options begin in column 0, the first `=` or `:`
splits, there are no continuation lines, nothing is interpolated. Where the original lost what people wrote,
the writer's intention is followed, with a warning that says what the original did:

- section names in any case are taken in lower case;
- a value with ` ;` in it is kept whole;
- `plugins=a,b` in `[amiconfig]` is stored as the original wanted it: `a b`;
- lines that are no options are named instead of dropped silently.

Quotes stay part of a value, except `""`, which means an empty one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ucvm_agent.userdata.context import Place
from ucvm_agent.userdata.formats import section_name
from ucvm_agent.userdata.problems import Problems
from ucvm_agent.userdata.written import Tree, Written

_OPTION = re.compile(r"([^:=\s][^:=]*)[:=](.*)", re.DOTALL)
_COMMENT = re.compile(r"\s*[#;]|rem(?:\s|$)", re.IGNORECASE)
_PLUGIN_LISTS = ("plugins", "disabled_plugins")

Options = dict[str, Written]


def parse_sections(rows: Iterable[tuple[int, str]], part: str, problems: Problems) -> Tree:
    """Return the sections of a text, named in brackets and in lower case: `[cernvm]`.

    Arguments:
        rows: number (from 1) and text of each line.
        part: the part that the lines are in.
    """
    sections: Tree = {}
    name, options = "", None
    dropped = (0, "")
    for number, line in rows:
        place = Place(part, number, 1)
        if not line.strip() or _COMMENT.match(line):
            continue
        if (header := section_name(line)) is not None:
            name, options = header.lower(), _open_section(header, line, place, sections, problems)
        elif options is not None and line[0] not in "[-" and (match := _OPTION.fullmatch(line)) is not None:
            option = match[1].rstrip().lower()
            value = _read_value(name, option, match[2], place, problems)
            if option in options:
                message = f"[{name}] {option} is written again; line {options[option].place.line} has no effect"
                problems.warning(place, message, "write it once")
            options[option] = Written(value, place)
        else:
            kind, hint = _explain_dropped(line)
            if dropped != (number - 1, kind):
                problems.warning(place, f"{kind} has no effect: expected [section], name=value or a comment", hint)
            dropped = (number, kind)
    return sections


def _open_section(header: str, line: str, place: Place, sections: Tree, problems: Problems) -> Options:
    """Return the options of a section that begins or goes on here."""
    if header == "DEFAULT":
        problems.warning(place, "[DEFAULT] has no effect, in the original neither", "put the options into a section")
        return {}
    name = header.lower()
    if header != name:
        fate = "stopped altogether" if name == "amiconfig" else "failed on the section"
        problems.warning(place, f"[{header}] is taken as [{name}]; the original {fate}", f"write [{name}]")
    if not line.startswith(f"[{header}]"):
        problems.warning(place, f"the blanks inside the brackets of [{name}] are ignored", f"write [{name}]")
    elif (rest := line[len(header) + 2 :].strip()) and not rest.startswith(("#", ";")):
        problems.warning(place, f"what follows [{name}] on its line is ignored", "put it on a line of its own")
    section = sections.setdefault(f"[{name}]", Written({}, place))
    return section.value if isinstance(section.value, dict) else {}


def _read_value(section: str, option: str, text: str, place: Place, problems: Problems) -> str:
    """Return an option's value as it was meant."""
    value = text.strip()
    if value == '""':
        return ""
    if (position := value.find(";")) > 0 and value[position - 1].isspace():
        message = f"[{section}] {option} is kept whole; the original cut it at the first ; after a blank"
        problems.warning(place, message, "remove the blank, or put the comment on a line of its own")
    if section == "amiconfig" and option in _PLUGIN_LISTS and "," in value:
        message = f"the names in {option} are taken one by one; the original knew no commas and ignored them all"
        problems.warning(place, message, "separate the names by blanks")
        return " ".join(value.replace(",", " ").split())
    return value


def _explain_dropped(line: str) -> tuple[str, str]:
    """Return what a line without effect is, and what to write instead."""
    if line[0].isspace():
        return "an indented line", "a value is one line; options begin in the first column"
    if line.startswith("["):
        return "a line that begins like a section and is none", "write the section's name alone in brackets"
    if line.startswith("- "):
        return "a list", "if this is cloud-config, begin it with a line #cloud-config"
    return "a line that is no option", "write name=value"
