"""One text that mixes formats without MIME, cut into regions of one format each.

The originals read such a text several times: the script ran to the end of the text unless it said `exit`,
amiconfig's sanitizer took all that looked like an option after the first section, cloud-init wanted the whole
of it to be YAML, and the bootloader cut its block out of the raw text (references/amiconfig.md, sections 3 and
5). Here each line belongs to exactly one region, decided by what the lines are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ucvm_agent.userdata.formats import Format, first_line_format, inner_format, is_known_header, section_word
from ucvm_agent.userdata.shell import Quotation, ends_by_itself, is_shell

_SCRIPTS = (Format.SCRIPT, Format.BOOTHOOK)
_YAML = (Format.CLOUD_CONFIG, Format.ARCHIVE)
_WHOLE = (
    Format.INCLUDE,
    Format.INCLUDE_ONCE,
    Format.JSON_PATCH,
    Format.PART_HANDLER,
    Format.JINJA,
    Format.UPSTART,
)
"""Formats in which a `#` or a word in brackets may mean anything, so that only well-known sections stop them."""
_YAML_KEY = re.compile(r"[A-Za-z_][\w-]*:(?:\s|$)")
_YAML_KEY_ALONE = re.compile(r"[A-Za-z_][\w-]*:\s*(?:#.*)?$")
_YAML_BENEATH = re.compile(r"\s*- |\s+[\w-]+:(?:\s|$)")


@dataclass(frozen=True, slots=True)
class Region:
    """Lines of one format.

    Arguments:
        spans: the lines, as positions in the document (from 0); more than one span if a bootloader block or
            a section stands in between.
    """

    format: Format
    spans: list[range]

    def rows(self, lines: Sequence[str]) -> Iterator[tuple[int, str]]:
        """Yield the number (from 1) and the text of each line of the region."""
        for span in self.spans:
            for position in span:
                yield position + 1, lines[position]

    def text(self, lines: Sequence[str]) -> str:
        """Return the region with empty lines in place of what is not its own, so that distances stay."""
        pieces: list[str] = []
        for span in self.spans:
            pieces += [""] * (span.start - self.spans[0].start - len(pieces))
            pieces += lines[span.start : span.stop]
        return "\n".join(pieces)

    @property
    def start(self) -> int:
        """The position of its first line."""
        return self.spans[0].start


def split(lines: Sequence[str], declared: Format | None = None) -> list[Region]:
    """Cut a document into regions.

    Arguments:
        lines: the document, without line feeds.
        declared: what its MIME type says that it begins with; None = its first line tells.
    """
    position = next((position for position, line in enumerate(lines) if line.strip()), len(lines))
    if position == len(lines):
        return []
    splitter = _Splitter(lines)
    opened = Region(declared or first_line_format(lines[position]) or Format.UNKNOWN, [])
    while position < len(lines):
        position = splitter.read(opened, position)
        if position < len(lines):
            opened = splitter.follow(opened, position)
    return [region for region in splitter.regions if any(line.strip() for _, line in region.rows(lines))]


class _Splitter:
    """A document that is being cut, from the top downwards.

    Arguments:
        regions: those found so far, in the order in which they begin.
    """

    def __init__(self, lines: Sequence[str]) -> None:
        self.regions: list[Region] = []
        self._lines = lines
        self._yaml: Region | None = None
        self._interrupted: Region | None = None
        self._quotes_are_even = True

    def read(self, region: Region, start: int) -> int:
        """Give a region the lines from `start` on that are its own; return the position after them."""
        stop = self._find_stop(region.format, start)
        region.spans.append(range(start, stop))
        if len(region.spans) == 1:
            self.regions.append(region)
        if region.format in _YAML:
            self._yaml = region
        if region.format is not Format.UCERNVM:
            self._interrupted = region
        return stop

    def follow(self, closed: Region, position: int) -> Region:
        """Return the region that has the line at `position`: a new one, or one that was interrupted."""
        if (inner := inner_format(self._lines[position])) is not None:
            return Region(inner, [])
        if self._yaml is not None and closed.format is Format.AMICONFIG:
            return self._yaml
        if closed.format is Format.UCERNVM and (interrupted := self._resume(position)) is not None:
            return interrupted
        return Region(Format.UNKNOWN, [])

    def _resume(self, position: int) -> Region | None:
        """Return the region that goes on after a bootloader block, if it is plain that one does."""
        following = self._next_text(position)
        if following is None or inner_format(following) is not None:
            return None
        if self._yaml is not None and (self._yaml is self._interrupted or _YAML_KEY.match(following)):
            return self._yaml
        if self._interrupted is not None and self._interrupted.format in _SCRIPTS:
            last = self._interrupted.spans[-1]
            return None if ends_by_itself(self._lines[last.start : last.stop]) else self._interrupted
        return None

    def _next_text(self, position: int) -> str | None:
        """Return the next line that is neither blank nor a mere comment."""
        for line in (self._lines[p] for p in range(position, len(self._lines))):
            if inner_format(line) is not None or (line.strip() and not line.startswith("#")):
                return line
        return None

    def _is_yaml(self, position: int) -> bool:
        """Tell whether a line among INI options is a key of cloud-config.

        A key with a list or mapping beneath it always is; other keys are if the text had cloud-config before
        and they stand apart from the options.
        """
        line = self._lines[position]
        if not _YAML_KEY.match(line):
            return False
        if self._yaml is not None and not self._lines[position - 1].strip():
            return True
        following = self._lines[position + 1] if position + 1 < len(self._lines) else ""
        return bool(_YAML_KEY_ALONE.match(line)) and _YAML_BENEATH.match(following) is not None

    def _find_stop(self, opened: Format, start: int) -> int:
        """Return the position of the first line after `start` that is not of the format any more."""
        if opened in _SCRIPTS:
            return self._find_script_stop(start)
        if opened is Format.UCERNVM:
            return _find_block_stop(self._lines, start)
        for position in range(start + 1, len(self._lines)):
            if opened is Format.AMICONFIG and self._is_yaml(position):
                return position
            inner = inner_format(self._lines[position])
            if inner is None or inner is opened is Format.AMICONFIG:
                continue
            if opened not in _WHOLE or is_known_header(self._lines[position]):
                return position
        return len(self._lines)

    def _find_script_stop(self, start: int) -> int:
        """Return where a script stops: at the first section or cloud-config that is not inside quotes.

        In other languages than the shell, and where the quotes do not come out even, only sections that the
        original knew stop it.
        """
        lines = self._lines
        interpreter = next((line for line in lines[start : start + 2] if line.startswith("#!")), "#!/bin/sh")
        if not self._quotes_are_even or not is_shell(interpreter):
            return _find_known_header(lines, start)
        quotation = Quotation()
        for position in range(start + 1, len(lines)):
            if not quotation.inside and inner_format(lines[position]) not in (None, Format.SCRIPT):
                return position
            quotation.read(lines[position])
        self._quotes_are_even = not quotation.inside
        return len(lines) if self._quotes_are_even else _find_known_header(lines, start)


def _find_block_stop(lines: Sequence[str], start: int) -> int:
    """Return where a bootloader block stops: after its end marker, or where something else begins."""
    for position in range(start, len(lines)):
        if (section_word(lines[position]) or "").lower() == "ucernvm-end":
            return position + 1
        if position > start and inner_format(lines[position]) is not None:
            return position
    return len(lines)


def _find_known_header(lines: Sequence[str], start: int) -> int:
    return next((position for position in range(start + 1, len(lines)) if is_known_header(lines[position])), len(lines))
