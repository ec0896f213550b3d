"""A `context.sh` as user-data: what HEPiX's prolog sourced, and what OpenNebula puts on its medium.

It is parsed and never run (references/amiconfig.md, section 6); `sources.documents.context_sh` is the parser.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from ucvm_agent.errors import SourceRefused
from ucvm_agent.sources.base import Metadata
from ucvm_agent.userdata.document import Document
from ucvm_agent.userdata.formats import first_line_format
from ucvm_agent.userdata.piece import Piece
from ucvm_agent.userdata.unpack import decode_base64, decode_said_base64

_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=", re.ASCII)
_USER_DATA = ("EC2_USER_DATA=", "USER_DATA=", "USERDATA=")


def is_context(lines: Iterable[str]) -> bool:
    """Tell whether a text is a `context.sh`: it begins with an assignment, and assigns user-data somewhere."""
    rest = iter(lines)
    for line in rest:
        if first_line_format(line):
            return False
        if line.strip() and not line.lstrip().startswith("#"):
            assigns = _ASSIGNMENT.match(line) is not None
            return assigns and any(each.startswith(_USER_DATA) for each in (line, *rest))
    return False


def read_context(piece: Piece, text: str, document: Document) -> Piece | None:
    """Return the user-data inside, and note keys and host name; None if there is none, or it is no such text."""
    # Seldom needed, and a dry run has to start fast.
    from ucvm_agent.sources.claims import sound_keys
    from ucvm_agent.sources.documents.context_sh import parse_context
    from ucvm_agent.sources.documents.context_variables import KEY_FILE, KEYS, read_metadata, read_user_data

    try:
        variables = parse_context(text.encode(errors="surrogateescape"), piece.name)
    except SourceRefused as error:
        # Without the line, which would be shown: any of them may hold a secret.
        document.problems.error(piece.place, error.message, error.hint)
        return None
    if (key := variables.get(KEY_FILE)) and "VM_CONTEXT_UUID" in variables:
        # A context file of CernVM Online (references/cernvm-online.md, section 3).
        variables[KEY_FILE] = (decode_base64(key.encode(errors="replace")) or b"%").decode(errors="replace")
    for name in KEYS:
        lines = [line for line in variables.get(name, "").splitlines() if line.strip() and not line.startswith("#")]
        if not all(sound_keys([line]) for line in lines):
            hint = "write the key itself, such as ssh-ed25519 AAAA… comment"
            document.problems.warning(piece.place, f"{name} holds no public key, and has no effect", hint)
    document.told = complete(document.told, read_metadata(variables))
    data, is_base64 = read_user_data(variables)
    if data is None:
        return None
    name = document.bounds.make_unique(f"{piece.name} unpacked")
    document.bounds.count_parts(1, name)
    document.origins[name] = document.origins.get(piece.name, piece.name)
    inside = Piece(name, data, depth=piece.depth + 1)
    return decode_said_base64(inside, document.problems) if is_base64 else inside


def complete(metadata: Metadata, told: Metadata) -> Metadata:
    """Return what the platform says, with the keys and, where there is none, the host name that user-data tell."""
    keys = tuple(dict.fromkeys((*metadata.public_keys, *told.public_keys)))
    return replace(metadata, hostname=metadata.hostname or told.hostname, public_keys=keys)
