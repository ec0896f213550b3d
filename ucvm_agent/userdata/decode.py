"""The way into this room: `decode`, which turns what a source found into one `Context`.

A document is unpacked into pieces (`unpack.py`), each piece is cut into regions of one format (`split.py`), and
each region is read by the module of its format. The vendor's document comes first, the user's overrules it, and
extra user-data overrules both.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from ucvm_agent.sources.base import Found
from ucvm_agent.userdata.amiconfig import parse_sections
from ucvm_agent.userdata.bounds import Bounds
from ucvm_agent.userdata.context import UCERNVM, Context, Frozen, Part, Place, Script, freeze
from ucvm_agent.userdata.formats import EXPECTED, Format, declared_format, first_line_format, is_undecided
from ucvm_agent.userdata.glidein import add_pilot, is_pilot, read_pilot
from ucvm_agent.userdata.include import Inclusion, read_urls, shown_url
from ucvm_agent.userdata.merge import Mergers, take_mergers
from ucvm_agent.userdata.piece import Piece
from ucvm_agent.userdata.placeholders import fill
from ucvm_agent.userdata.problems import Problems
from ucvm_agent.userdata.scripts import find_unreached, read_boothook, read_script, rename
from ucvm_agent.userdata.split import Region, split
from ucvm_agent.userdata.text import read_text, scrub
from ucvm_agent.userdata.ucernvm import parse_block
from ucvm_agent.userdata.unpack import decode_said_base64, unpack
from ucvm_agent.userdata.written import Tree, add_sections, places, plain

USER_DATA, VENDOR_DATA, EXTRA_DATA = "user-data", "vendor-data", "extra-user-data"

_TEMPLATES = (Format.SCRIPT, Format.CLOUD_CONFIG, Format.BOOTHOOK)
_LOCAL_SOURCES = ("file",)
"""Sources whose user-data are a file that somebody on this machine has chosen."""


@dataclass(slots=True)
class _Document:
    """What one document (the user's, the vendor's or the extra one) has yielded so far.

    Arguments:
        origins: for each part that was included, the part of the document itself that led to it.
    """

    found: Found
    bounds: Bounds
    problems: Problems
    inclusion: Inclusion
    keys: Mapping[str, str] | None = None
    missing: dict[str, Place] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    parts: list[Part] = field(default_factory=list)
    boothooks: list[Script] = field(default_factory=list)
    scripts: list[Script] = field(default_factory=list)
    config: Tree = field(default_factory=dict)
    sections: Tree = field(default_factory=dict)
    pilot: Tree = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Text:
    """A piece as text: `raw` lines hold bytes that are no UTF-8 as surrogate escapes, `lines` hold none."""

    piece: Piece
    raw: list[str]
    lines: list[str]
    regions: list[Region]

    def place(self, region: Region) -> Place:
        """Return where a region begins."""
        return Place(self.piece.name, region.start + 1, 1)


def decode(found: Found, keys: Mapping[str, str] | None = None) -> Context:
    """Decode what a source found.

    Everything that is wrong with it becomes a problem of the context, as long as the rest can be used.

    Arguments:
        keys: of the cluster, as far as they are known, for the places that wait for them; None = there is no cluster.

    Raises:
        BoundExceeded: it is larger or deeper, or has more parts, lines or values than the bounds allow.
    """
    problems = Problems()
    inclusion = Inclusion(found.included, local=found.source in _LOCAL_SOURCES)
    documents = [_Document(found, Bounds(prefix), problems, inclusion, keys) for prefix in ("vendor-", "", "extra-")]
    vendor, user, extra = documents
    _read_document(vendor, VENDOR_DATA, found.vendor_data, base64=False)
    _read_document(user, USER_DATA, found.user_data, base64=found.base64)
    _read_document(extra, EXTRA_DATA, found.extra_data, base64=False)
    tree: Tree = {}
    for document in documents:
        tree = Mergers().merge(tree, document.config)
    for document in documents:
        add_sections(tree, document.sections)
    if pilot := user.pilot or vendor.pilot or extra.pilot:
        add_pilot(tree, pilot, problems)
    parts = tuple(part for document in documents for part in document.parts)
    missing = {key: place for document in documents for key, place in document.missing.items()}
    _note_missing(missing, problems, in_cluster=keys is not None)
    values: dict[str, Frozen] = {key: freeze(plain(written)) for key, written in tree.items()}
    if found.user_data and not (values or user.scripts or user.boothooks or problems):
        problems.note(Place(USER_DATA), "there is nothing in the user-data", f"begin it with {EXPECTED}")
    return Context(
        digest=_digest(found),
        parts=parts,
        values=MappingProxyType(values),
        places=MappingProxyType(dict(places(tree))),
        scripts=_name_scripts([script for document in documents for script in _run_order(document)]),
        problems=problems.listed({part.name: position for position, part in enumerate(parts)}),
        metadata=found.metadata,
        pickup=found.pickup,
        missing=frozenset(missing),
        includes=tuple(inclusion.missing.values()),
    )


def _digest(found: Found) -> str:
    given = (found.user_data, found.vendor_data, found.extra_data, found.pickup)
    included = (fetched.data for _, fetched in sorted(found.included.items()))
    return hashlib.sha256(b"".join(data for data in (*given, *included) if data)).hexdigest()


def _note_missing(missing: Mapping[str, Place], problems: Problems, *, in_cluster: bool) -> None:
    for key, place in missing.items():
        if in_cluster:
            problems.note(place, f"this waits for the key {key} of the cluster, and so does what comes after it")
        else:
            hint = "name a cluster by cvm_cluster_pin"
            problems.note(place, f"nothing replaces this placeholder for the key {key} of a cluster", hint)


def _read_document(document: _Document, name: str, data: bytes | None, *, base64: bool) -> None:
    if data:
        piece = Piece(name, data)
        _read_piece(decode_said_base64(piece, document.problems) if base64 else piece, document)


def _read_piece(container: Piece, document: _Document) -> None:
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
        regions = split(lines, None if is_undecided(piece.content_type) else declared)
        document.bounds.count_parts(sum(len(region.spans) for region in regions[1:]), piece.name)
        content_type = piece.content_type or (str(regions[0].format) if regions else "text/plain")
        document.parts.append(Part(piece.name, content_type, shown))
        if header := piece.header("launch-index"):
            message = f"Launch-Index {header[:10]} is not supported yet; the part is used on every instance"
            document.problems.warning(piece.place, message)
        text = _Text(piece, raw.split("\n"), lines, regions)
        for region in regions:
            _READERS[region.format](text, region, document)


def _fill(piece: Piece, document: _Document) -> Piece:
    filled = fill(piece.data, document.keys)
    for key, line in filled.missing:
        document.missing.setdefault(key, Place(piece.name, line, 1))
    return replace(piece, data=filled.data)


def _read_cloud_config(text: _Text, region: Region, document: _Document) -> None:
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


def _read_patch(text: _Text, region: Region, document: _Document) -> None:
    from ucvm_agent.userdata.json_patch import apply_patch  # jsonpatch is slow to import, and seldom needed

    lines = [line for _, line in region.rows(text.lines)]
    patch = "\n".join(lines[lines[0].startswith("#") :])
    document.config = apply_patch(document.config, patch, text.place(region), document.bounds, document.problems)


def _read_archive(text: _Text, region: Region, document: _Document) -> None:
    from ucvm_agent.userdata.archive import read_archive  # as above

    yaml_text = region.text(text.lines)
    for piece in read_archive(text.piece, yaml_text, region.start + 1, document.bounds, document.problems):
        _read_piece(piece, document)


def _read_script(text: _Text, region: Region, document: _Document) -> None:
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


def _read_boothook(text: _Text, region: Region, document: _Document) -> None:
    lines = [line for _, line in region.rows(text.raw)]
    document.boothooks.append(read_boothook(text.piece, lines, text.place(region), document.problems))


def _read_amiconfig(text: _Text, region: Region, document: _Document) -> None:
    sections = parse_sections(region.rows(text.lines), text.piece.name, document.problems)
    add_sections(document.sections, sections)


def _read_ucernvm(text: _Text, region: Region, document: _Document) -> None:
    if UCERNVM in document.sections:
        first = document.sections[UCERNVM].place
        message = f"a second [ucernvm-begin] block is ignored, as in the original; the first is on line {first.line}"
        document.problems.warning(text.place(region), message, "unite the blocks")
        return
    last_line = len(text.lines) if text.lines[-1] else 0
    block = parse_block(list(region.rows(text.lines)), text.piece.name, last_line, document.problems)
    document.sections[UCERNVM] = block


def _read_unknown(text: _Text, region: Region, document: _Document) -> None:
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
        yaml = re.match(r"[A-Za-z_][\w-]*:(?:\s|$)", rows[0][1]) is not None
        hint = "if this is cloud-config, begin it with a line #cloud-config" if yaml else "begin with one of these"
        _skip(place, f"{len(rows)} lines" if len(rows) > 1 else "a line", document, hint)


def _read_include(text: _Text, region: Region, document: _Document) -> None:
    part, bounds = text.piece.name, document.bounds
    for url, once, place in read_urls(region.rows(text.lines), part, once=region.format is Format.INCLUDE_ONCE):
        data = document.inclusion.take(url, place, document.problems, once=once)
        if data is None:
            continue
        name = bounds.make_unique(shown_url(url))
        bounds.count_parts(1, name)
        document.origins[name] = document.origins.get(part, part)
        with document.inclusion.inside(url):
            _read_piece(Piece(name, data, depth=text.piece.depth + 1), document)


def _read_template(text: _Text, region: Region, document: _Document) -> None:
    from ucvm_agent.userdata.template import MARKER, render  # jinja2 is slow to import, and seldom needed

    place = text.place(region)
    lines = [line for _, line in region.rows(text.lines)]
    if lines[0].startswith(MARKER):
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


def _refuse(text: _Text, region: Region, document: _Document) -> None:
    place = text.place(region)
    if region.format is Format.UPSTART:
        document.problems.warning(place, "an upstart job has no effect: there is no upstart any more", "use systemd")
        return
    document.problems.error(
        place, "not supported yet: #part-handler", "put what it would bring into the user-data itself"
    )


def _skip(place: Place, what: str, document: _Document, hint: str) -> None:
    document.problems.warning(place, f"{what} skipped: expected {EXPECTED}", hint)


_READERS: dict[Format, Callable[[_Text, Region, _Document], None]] = {
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


def _run_order(document: _Document) -> list[Script]:
    """Return a document's scripts as cloud-init runs them: boothooks as they come, the others by name.

    What was included counts as that which includes it, so that the order of the URLs stays.
    """
    return document.boothooks + sorted(document.scripts, key=lambda s: document.origins.get(s.name, s.name))


def _name_scripts(scripts: list[Script]) -> tuple[Script, ...]:
    named: dict[str, Script] = {}
    for script in scripts:
        name = rename(script.name, named)
        named[name] = replace(script, name=name)
    return tuple(named.values())
