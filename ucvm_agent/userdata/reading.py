"""Reads a document region by region, each by the module of its format."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from itertools import islice

from ucvm_agent.nearest import suggest
from ucvm_agent.userdata.amiconfig import parse_sections
from ucvm_agent.userdata.context import UCERNVM, Part, Place
from ucvm_agent.userdata.context_sh import is_context, read_context
from ucvm_agent.userdata.document import Document, Text
from ucvm_agent.userdata.formats import (
    EXPECTED,
    FIRST_LINES,
    MARKER,
    Format,
    declared_format,
    first_line_format,
    is_undecided,
)
from ucvm_agent.userdata.glidein import is_pilot, read_pilot
from ucvm_agent.userdata.include import read_urls, shown_url
from ucvm_agent.userdata.merge import take_mergers
from ucvm_agent.userdata.piece import Piece
from ucvm_agent.userdata.placeholders import fill
from ucvm_agent.userdata.scripts import find_unreached, read_boothook, read_script
from ucvm_agent.userdata.split import Region, split
from ucvm_agent.userdata.text import read_text, scrub
from ucvm_agent.userdata.ucernvm import parse_block
from ucvm_agent.userdata.unpack import decode_said_base64, unpack
from ucvm_agent.userdata.written import add_sections

HEAD_LINES = 20
"""Lines of a text in no format that are looked at for a misspelt first line."""

_NEARLY_SCRIPT = re.compile(r"\s*#\s*!?\s*(/\S*?(?:sh|python[0-9.]*|perl|env)(?: .*?)?)\s*")
_TEMPLATES = (Format.SCRIPT, Format.CLOUD_CONFIG, Format.BOOTHOOK)


def read_document(document: Document, name: str, data: bytes | None, *, base64: bool) -> None:
    """Read all of a document into `document`.

    Arguments:
        name: of the document, for places.
        data: as its source gave it; None = there is none.
        base64: the source says that it is base64.

    Raises:
        BoundExceeded: it is larger or deeper, or has more parts, lines or values than the bounds allow.
    """
    if data:
        piece = Piece(name, data)
        _read_piece(decode_said_base64(piece, document.problems) if base64 else piece, document)


def _read_piece(container: Piece, document: Document) -> None:
    """Read all that is inside a piece, each text by itself."""
    for piece in unpack(container, document.bounds, document.problems):
        declared = declared_format(piece.content_type)
        if declared is None and not is_undecided(piece.content_type):
            _skip(piece.place, f"a part of the type {piece.content_type}", document, "give it a type that is read")
            continue
        raw = read_text(_fill(piece, document), document.problems)
        if raw is None:
            document.parts.append(Part(piece.name, piece.content_type or "application/octet-stream"))
            continue
        document.bounds.count_lines(raw.count("\n"), piece.name)
        shown = scrub(raw)
        lines = shown.split("\n")
        if is_undecided(piece.content_type) and is_context(lines):
            document.parts.append(Part(piece.name, "text/x-context-sh", shown))
            if inside := read_context(piece, raw, document):
                _read_piece(inside, document)
            continue
        regions = split(lines, None if is_undecided(piece.content_type) else declared)
        document.bounds.count_parts(sum(len(region.spans) for region in regions[1:]), piece.name)
        content_type = piece.content_type or (str(regions[0].format) if regions else "text/plain")
        document.parts.append(Part(piece.name, content_type, shown))
        if header := piece.header("launch-index"):
            message = f"Launch-Index {header[:10]} is not supported yet; the part is used on every instance"
            document.problems.warning(piece.place, message)
        text = Text(piece, raw.split("\n"), lines, regions)
        for region in regions:
            _READERS[region.format](text, region, document)


def _fill(piece: Piece, document: Document) -> Piece:
    filled = fill(piece.data, document.keys)
    for key, line in filled.missing:
        document.missing.setdefault(key, Place(piece.name, line, 1))
    return replace(piece, data=filled.data)


def _read_cloud_config(text: Text, region: Region, document: Document) -> None:
    from ucvm_agent.userdata.cloud_config import parse_cloud_config  # YAML is slow to import, and not always there

    piece = text.piece
    config = parse_cloud_config(
        region.text(text.lines), piece.name, region.start + 1, document.bounds, document.problems
    )
    if config:
        mergers = take_mergers(config, piece.header("merge-type"), text.place(region), document.problems)
        document.config = mergers.merge(document.config, config)
    if first_line_format(first := text.lines[region.start]) and not first.startswith("#cloud-config"):
        message = "this is taken for #cloud-config; cloud-init does not recognise it written like this"
        document.problems.warning(text.place(region), message, "write #cloud-config at the very beginning")
    if len(region.spans) > 1:
        place = Place(piece.name, region.spans[1].start + 1, 1)
        message = "the cloud-config goes on here, after lines of another format"
        document.problems.warning(place, message, "keep the lines of a format together, or use a MIME multipart")


def _read_patch(text: Text, region: Region, document: Document) -> None:
    from ucvm_agent.userdata.json_patch import apply_patch  # jsonpatch is slow to import, and seldom needed

    lines = [line for _, line in region.rows(text.lines)]
    patch = "\n".join(lines[lines[0].startswith("#") :])
    document.config = apply_patch(document.config, patch, text.place(region), document.bounds, document.problems)


def _read_archive(text: Text, region: Region, document: Document) -> None:
    from ucvm_agent.userdata.archive import read_archive  # as above

    yaml_text = region.text(text.lines)
    for piece in read_archive(text.piece, yaml_text, region.start + 1, document.bounds, document.problems):
        _read_piece(piece, document)


def _read_script(text: Text, region: Region, document: Document) -> None:
    numbers, lines = map(list, zip(*region.rows(text.raw), strict=True))
    if any(line.strip() for line in text.lines[: region.start]):
        message = "a script that does not begin the text: the original never ran it; it is run after contextualization"
        document.problems.warning(text.place(region), message, "let the script be first, or use a MIME multipart")
    if (position := find_unreached(lines)) is not None:
        place = Place(text.piece.name, numbers[position], 1)
        message = "this script never runs, since the one before it, which it is part of, has left by then"
        document.problems.warning(place, message, "take out that exit, or use a MIME multipart")
    mixed = region is not text.regions[-1]
    document.scripts.append(read_script(text.piece, lines, text.place(region), mixed=mixed, problems=document.problems))


def _read_boothook(text: Text, region: Region, document: Document) -> None:
    lines = [line for _, line in region.rows(text.raw)]
    document.boothooks.append(read_boothook(text.piece, lines, text.place(region), document.problems))


def _read_amiconfig(text: Text, region: Region, document: Document) -> None:
    sections = parse_sections(region.rows(text.lines), text.piece.name, document.problems)
    add_sections(document.sections, sections)


def _read_ucernvm(text: Text, region: Region, document: Document) -> None:
    if UCERNVM in document.sections:
        first = document.sections[UCERNVM].place
        message = f"a second [ucernvm-begin] block is ignored, as in the original; the first is on line {first.line}"
        document.problems.warning(text.place(region), message, "unite the blocks")
        return
    last_line = len(text.lines) if text.lines[-1] else 0
    block = parse_block(list(region.rows(text.lines)), text.piece.name, last_line, document.problems)
    document.sections[UCERNVM] = block


def _read_unknown(text: Text, region: Region, document: Document) -> None:
    """Skip prose; comments need no mention."""
    rows = [(number, line) for number, line in region.rows(text.lines) if line.strip() and line.lstrip()[0] not in "#;"]
    if not rows:
        return
    place = Place(text.piece.name, rows[0][0], 1)
    beginning = rows[0][1].lstrip()[:15].lower()
    if beginning.startswith(("<!doctype", "<html", "<?xml")):
        hint = "the metadata service or the proxy in between gave an error page"
        document.problems.error(place, "this is a web page, and not user-data", hint)
    elif is_pilot(pilot := "\n".join(text.lines)):
        document.pilot = read_pilot(pilot, text.piece.name, document.problems)
    elif any("####" in line and "-cluster" in line for line in text.lines[:4]):
        hint = "it is base64, then #### -cluster N -subcluster N####, and one line end at most"
        document.problems.error(place, "this looks like user-data of a glideinWMS pilot, and is none", hint)
    else:
        head = islice(region.rows(text.lines), HEAD_LINES)
        misspelt = [(number, hint) for number, line in head if (hint := _nearly_first_line(line))]
        if misspelt:
            place = Place(text.piece.name, misspelt[0][0], 1)
        hint = misspelt[0][1] if misspelt else _guess(rows[0][1])
        _skip(place, f"{len(rows)} lines" if len(rows) > 1 else "a line", document, hint)


def _nearly_first_line(line: str) -> str:
    """Return what a comment may have meant to be that nearly is a first line; empty if it is not."""
    if (script := _NEARLY_SCRIPT.fullmatch(line)) and not line.startswith("#!"):
        return f"did you mean #!{script[1]}?"
    begins = [beginning for beginning, _ in FIRST_LINES if len(beginning) > 2]
    return suggest(line.strip().lower(), begins, 0.85) if line.startswith("#") else ""


def _guess(line: str) -> str:
    """Return what to do about text that is in no format, by its first line."""
    if re.match(r"[A-Za-z_][\w-]*:(?:\s|$)", line):
        return "if this is cloud-config, begin it with a line #cloud-config"
    if line.startswith("ENCRYPTED:"):
        return "a context of CernVM Online that is encrypted is taken by `ucvm-agent pair`"
    if re.fullmatch(r"[A-Za-z0-9+/_-]{24,}={0,2}", line.strip()):
        return "if this is base64, it is damaged, or what it stands for begins with none of these"
    return "begin with one of these; a script with the line of its interpreter, such as #!/bin/sh"


def _read_include(text: Text, region: Region, document: Document) -> None:
    part, bounds = text.piece.name, document.bounds
    for url, once, place in read_urls(region.rows(text.lines), part, once=region.format is Format.INCLUDE_ONCE):
        data = document.inclusion.take(url, place, document.problems, once=once, local=document.local)
        if data is None:
            continue
        name = bounds.make_unique(shown_url(url))
        bounds.count_parts(1, name)
        document.origins[name] = document.origins.get(part, part)
        with document.inclusion.inside(url):
            _read_piece(Piece(name, data, depth=text.piece.depth + 1), document)


def _read_template(text: Text, region: Region, document: Document) -> None:
    from ucvm_agent.userdata.template import render  # seldom needed

    place = text.place(region)
    document.bounds.count_templates(1, place.part)
    lines = [line for _, line in region.rows(text.lines)]
    if first_line_format(lines[0]) is Format.JINJA:
        if not lines[0].lower().startswith(MARKER):
            message = f"this is taken for {MARKER}; cloud-init does not recognise it written like this"
            document.problems.warning(place, message, f"write {MARKER}")
        lines[0] = ""
    rendered = render("\n".join(lines), document.found, place, document.problems)
    if rendered is None:
        return
    first = next((line for line in rendered.split("\n") if line.strip()), "")
    if first_line_format(first) not in _TEMPLATES:
        hint = "let the line after ## template: jinja be #cloud-config, #! or #cloud-boothook"
        document.problems.error(place, "only cloud-config, scripts and boothooks can be templates", hint)
        return
    name = document.bounds.make_unique(f"{text.piece.name} filled in")
    document.origins[name] = document.origins.get(text.piece.name, text.piece.name)
    headers, depth = text.piece.headers, text.piece.depth + 1
    _read_piece(Piece(name, rendered.lstrip("\n").encode(), headers=headers, depth=depth), document)


def _refuse(text: Text, region: Region, document: Document) -> None:
    place = text.place(region)
    if region.format is Format.UPSTART:
        document.problems.warning(place, "an upstart job has no effect: there is no upstart any more", "use systemd")
        return
    document.problems.error(
        place, "not supported yet: #part-handler", "put what it would bring into the user-data itself"
    )


def _skip(place: Place, what: str, document: Document, hint: str) -> None:
    document.problems.warning(place, f"{what} skipped: expected {EXPECTED}", hint)


_READERS: dict[Format, Callable[[Text, Region, Document], None]] = {
    Format.CLOUD_CONFIG: _read_cloud_config,
    Format.ARCHIVE: _read_archive,
    Format.SCRIPT: _read_script,
    Format.BOOTHOOK: _read_boothook,
    Format.AMICONFIG: _read_amiconfig,
    Format.UCERNVM: _read_ucernvm,
    Format.UNKNOWN: _read_unknown,
    Format.JSON_PATCH: _read_patch,
    Format.INCLUDE: _read_include,
    Format.INCLUDE_ONCE: _read_include,
    Format.JINJA: _read_template,
    Format.UPSTART: _refuse,
    Format.PART_HANDLER: _refuse,
}
