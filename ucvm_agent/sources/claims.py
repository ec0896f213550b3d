"""What a platform claims about an instance, checked before anybody believes it.

Each function drops what is not sound instead of failing: one bad key must not keep a VM from coming up.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import ip_address

from ucvm_agent.public_key import parse_public_key

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
    found: dict[bytes, str] = {}
    for line in lines:
        with suppress(ValueError):
            key = parse_public_key(line)
            found.setdefault(key.blob, key.bare)
    return tuple(found.values())
