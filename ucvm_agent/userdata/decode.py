"""The way into this room: `decode`, which turns what a source found into one `Context`.

A document is unpacked into pieces (`unpack.py`), each piece is cut into regions of one format (`split.py`), and
each region is read by the module of its format (`reading.py`). The vendor's document comes first, the user's
overrules it, then comes the one of CernVM Online that the user's names, and extra user-data overrule all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from functools import reduce
from types import MappingProxyType

from ucvm_agent.sources.base import Found
from ucvm_agent.userdata.bounds import Bounds
from ucvm_agent.userdata.context import Context, Frozen, Place, Script, freeze
from ucvm_agent.userdata.context_sh import complete
from ucvm_agent.userdata.document import Document
from ucvm_agent.userdata.formats import EXPECTED
from ucvm_agent.userdata.glidein import add_pilot
from ucvm_agent.userdata.include import Inclusion
from ucvm_agent.userdata.merge import Mergers
from ucvm_agent.userdata.problems import Problems
from ucvm_agent.userdata.reading import read_document
from ucvm_agent.userdata.scripts import rename
from ucvm_agent.userdata.written import Tree, add_sections, places, plain

USER_DATA, VENDOR_DATA, EXTRA_DATA = "user-data", "vendor-data", "extra-user-data"
OVERLAY = "online-user-data"

_LOCAL_SOURCES = ("file",)
"""Sources whose user-data are a file that somebody on this machine has chosen."""


def decode(found: Found, keys: Mapping[str, str] | None = None) -> Context:
    """Decode what a source found.

    Everything that is wrong with it becomes a problem of the context, as long as the rest can be used.

    Arguments:
        keys: of the cluster, as far as they are known, for the places that wait for them; None = there is no cluster.

    Raises:
        BoundExceeded: it is larger or deeper, or has more parts, lines or values than the bounds allow.
    """
    problems = Problems()
    inclusion = Inclusion(found.included)
    prefixes = ("vendor-", "", "online-", "extra-")
    documents = [Document(found, Bounds(prefix), problems, inclusion, keys) for prefix in prefixes]
    vendor, user, overlay, extra = documents
    user.local = found.source in _LOCAL_SOURCES
    read_document(vendor, VENDOR_DATA, found.vendor_data, base64=False)
    read_document(user, USER_DATA, found.user_data, base64=found.base64)
    read_document(overlay, OVERLAY, found.overlay, base64=False)
    read_document(extra, EXTRA_DATA, found.extra_data, base64=False)
    tree: Tree = {}
    for document in documents:
        tree = Mergers().merge(tree, document.config)
    for document in documents:
        add_sections(tree, document.sections)
    if pilot := overlay.pilot or user.pilot or vendor.pilot or extra.pilot:
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
        metadata=reduce(complete, (document.told for document in documents), found.metadata),
        pickup=found.pickup,
        files=found.files,
        missing=frozenset(missing),
        includes=tuple(inclusion.missing.values()),
    )


def _digest(found: Found) -> str:
    given = (found.user_data, found.vendor_data, found.overlay, found.extra_data, found.pickup)
    files = (data for file in found.files for data in (file.path.encode(), file.content))
    included = (fetched.data for _, fetched in sorted(found.included.items()))
    return hashlib.sha256(b"".join(data for data in (*given, *files, *included) if data)).hexdigest()


def _note_missing(missing: Mapping[str, Place], problems: Problems, *, in_cluster: bool) -> None:
    for key, place in missing.items():
        if in_cluster:
            problems.note(place, f"this waits for the key {key} of the cluster, and so does what comes after it")
        else:
            hint = "name a cluster by cvm_cluster_pin"
            problems.note(place, f"nothing replaces this placeholder for the key {key} of a cluster", hint)


def _run_order(document: Document) -> list[Script]:
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
