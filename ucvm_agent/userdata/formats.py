"""The formats of user-data, and how a text tells which one it is in (references/clouds.md, section 5.2)."""

from __future__ import annotations

import re
from enum import StrEnum


class Format(StrEnum):
    """A format, by its MIME type."""

    CLOUD_CONFIG = "text/cloud-config"
    ARCHIVE = "text/cloud-config-archive"
    JSON_PATCH = "text/cloud-config-jsonp"
    SCRIPT = "text/x-shellscript"
    BOOTHOOK = "text/cloud-boothook"
    INCLUDE = "text/x-include-url"
    INCLUDE_ONCE = "text/x-include-once-url"
    PART_HANDLER = "text/part-handler"
    JINJA = "text/jinja2"
    UPSTART = "text/upstart-job"
    AMICONFIG = "text/amiconfig-user-data"
    UCERNVM = "text/ucernvm"
    UNKNOWN = "text/plain"


MARKER = "## template: jinja"
"""What a template begins with."""

FIRST_LINES = (
    ("#cloud-config-archive", Format.ARCHIVE),
    ("#cloud-config-jsonp", Format.JSON_PATCH),
    ("#cloud-config", Format.CLOUD_CONFIG),
    ("#cloud-boothook", Format.BOOTHOOK),
    (MARKER, Format.JINJA),
    ("#include-once", Format.INCLUDE_ONCE),
    ("#include", Format.INCLUDE),
    ("#part-handler", Format.PART_HANDLER),
    ("#upstart-job", Format.UPSTART),
    ("#!", Format.SCRIPT),
)
"""What a text of each format begins with, longer ones first."""

EXPECTED = "#cloud-config, #!, [section], [ucernvm-begin] or a MIME multipart"
"""What people are told that a text may begin with."""

_TYPES = {
    **{str(known): known for known in Format if known is not Format.UNKNOWN},
    "text/amiconfig": Format.AMICONFIG,
    "text/x-shellscript-per-boot": Format.SCRIPT,
    "text/x-shellscript-per-instance": Format.SCRIPT,
    "text/x-shellscript-per-once": Format.SCRIPT,
}

_UNDECIDED = {"", "text/plain", "text/x-not-multipart", "application/octet-stream", "text/x-shellscript"}

_PLUGINS = (
    "amiconfig cernvm hepix ucernvm-begin ucernvm-end rootsshkeys disablesshpasswdauth hostname storage openvpn noip "
    "dnsupdate sfcb-client-setup condor ganglia squid puppet nss yp amildap tcpbuffers appliance-agent workqueue "
    "elastiq-setup vaf-setup"
)
KNOWN_SECTIONS = frozenset(_PLUGINS.split())
"""Sections that the original knew; their names in brackets are taken for a section even in doubtful company."""

_WORD = re.compile(r"\[[ \t]*([A-Za-z0-9_][\w.+-]*)[ \t]*\](.*)", re.DOTALL)
_PHRASE = re.compile(r"\[([^\]\s](?:[^\]]*[^\]\s])?)\]\s*")
_NEARLY_CLOUD_CONFIG = re.compile(r"\s*#\s*cloud-config\s*", re.IGNORECASE)
_NEARLY_TEMPLATE = re.compile(r"\s*##\s*template\s*:\s*jinja2?\s*", re.IGNORECASE)
_SCRIPT = re.compile(r"#![ \t]*/")


def declared_format(content_type: str) -> Format | None:
    """Return the format that a MIME type declares; None if the text itself has to tell, or it is no type of ours."""
    return _TYPES.get(content_type.lower())


def is_undecided(content_type: str) -> bool:
    """Tell whether a text of this MIME type is looked at again by its first line."""
    return content_type.lower() in _UNDECIDED


def first_line_format(line: str) -> Format | None:
    """Return the format that a text with this first line is in; a section header counts as amiconfig's."""
    for beginning, known in FIRST_LINES:
        if line.startswith(beginning):
            return known
    if _NEARLY_CLOUD_CONFIG.fullmatch(line):
        return Format.CLOUD_CONFIG
    if _NEARLY_TEMPLATE.fullmatch(line):
        return Format.JINJA
    return inner_format(line)


def inner_format(line: str) -> Format | None:
    """Return the format that this line begins in the middle of a document without MIME, if it begins one."""
    if line.startswith("#"):
        if line.rstrip() == "#cloud-config":
            return Format.CLOUD_CONFIG
        return Format.SCRIPT if _SCRIPT.match(line) else None
    name = section_word(line)
    if name is None:
        return None
    return Format.UCERNVM if name.lower() == "ucernvm-begin" else Format.AMICONFIG


def section_word(line: str) -> str | None:
    """Return the section that a line opens, if the line is plainly a header: one word in brackets, alone.

    The original took any text in brackets in column 0, and so also `[ -f x ] && y` of a shell script.
    """
    if not line.startswith("[") or (match := _WORD.match(line)) is None:
        return None
    name, rest = match.groups()
    alone = not rest.strip() or rest.lstrip().startswith(("#", ";"))
    return name if alone or (name.lower() in KNOWN_SECTIONS and line.startswith(f"[{name}]")) else None


def section_name(line: str) -> str | None:
    """Return the section that a line opens among other sections, where names of several words are welcome."""
    if (word := section_word(line)) is not None:
        return word
    match = _PHRASE.fullmatch(line)
    return match.group(1) if match else None


def is_known_header(line: str) -> bool:
    """Tell whether a line opens a section that the original knew."""
    return (word := section_word(line)) is not None and word.lower() in KNOWN_SECTIONS
