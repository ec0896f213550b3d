"""What a platform claims about an instance, checked before anybody believes it.

Each function drops what is not sound instead of failing: one bad key must not keep a VM from coming up.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from ipaddress import ip_address

_KEY = re.compile(
    r"(?:^|\s)((?:ssh|ecdsa|sk)-[a-z0-9@.-]+)[ \t]+([A-Za-z0-9+/]+={0,2})(?:[ \t]+(\S[^\x00-\x1f\x7f]*))?$"
)
_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)", re.IGNORECASE)
_INSTANCE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}")


def sound_instance_id(text: str) -> str:
    """Return the instance-id in `text`, or an empty string if it cannot be one (an error page, say)."""
    text = text.strip()
    return text if _INSTANCE_ID.fullmatch(text) else ""


def sound_hostname(text: str) -> str:
    """Return the first name in `text` if it is a host name after RFC 1123, else an empty string."""
    name = next(iter(text.split()), "").rstrip(".")
    sound = len(name) <= 253 and all(_LABEL.fullmatch(label) for label in name.split("."))
    return name if sound else ""


def sound_addresses(texts: Iterable[str]) -> tuple[str, ...]:
    """Return the IPv4 and IPv6 addresses among `texts` in their usual form, without duplicates."""
    found: dict[str, None] = {}
    for text in texts:
        try:
            found[str(ip_address(text.strip()))] = None
        except ValueError:
            continue
    return tuple(found)


def sound_keys(lines: Iterable[str]) -> tuple[str, ...]:
    """Return the OpenSSH public keys among `lines`, without options and duplicates, in their order.

    Options go, since a platform hands out keys, not commands (references/clouds.md, section 3).
    """
    found: dict[tuple[str, str], str] = {}
    for line in lines:
        match = _KEY.search(line.strip())
        if match is None or not _holds(match[1], match[2]):
            continue
        found.setdefault((match[1], match[2]), " ".join(filter(None, match.groups())))
    return tuple(found.values())


def _holds(kind: str, text: str) -> bool:
    """Whether the base64 `text` is a key blob of that kind: it names its own kind first (RFC 4253, section 6.6)."""
    try:
        blob = base64.b64decode(text, validate=True)
    except binascii.Error:
        return False
    name = kind.encode()
    return blob.startswith(len(name).to_bytes(4, "big") + name) and len(blob) > 4 + len(name)
