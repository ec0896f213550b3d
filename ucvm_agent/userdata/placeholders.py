"""Places in user-data that are filled from the keys of a cluster: `###MASTER_IP_PLACEHOLDER###`.

The original knew this one only, and could not fill it inside the bootloader's block, which it had read before
(references/ucernvm-boot.md, section 6). Here any key of the cluster can be asked for, anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_PLACEHOLDER = re.compile(rb"###([A-Za-z0-9_-]{1,100})_PLACEHOLDER###")


@dataclass(frozen=True, slots=True)
class Filled:
    """User-data after filling.

    Arguments:
        missing: keys for which there was no value, with the line (from 1) of each place that waits for them.
    """

    data: bytes = field(repr=False)
    missing: tuple[tuple[str, int], ...] = ()


def fill(data: bytes, keys: Mapping[str, str] | None) -> Filled:
    """Put values in the places that wait for them.

    Arguments:
        keys: of the cluster, as far as they are known; the place of another one gets its stand-in, since the `#`
            of a placeholder would begin a comment in most formats. None = there is no cluster: all stays as it is.
    """
    if b"_PLACEHOLDER###" not in data:
        return Filled(data)
    found = [(_key_of(match), data.count(b"\n", 0, match.start()) + 1) for match in _PLACEHOLDER.finditer(data)]
    missing = tuple((key, line) for key, line in found if key not in (keys or {}))
    if keys is None:
        return Filled(data, missing)
    values = {key: stand_in(key) for key, _ in missing} | dict(keys)
    return Filled(_PLACEHOLDER.sub(lambda match: values[_key_of(match)].encode(), data), missing)


def _key_of(match: re.Match[bytes]) -> str:
    """Return the key that a placeholder stands for: `MASTER_IP` for `master_ip`, `Token` for `Token`."""
    name = match[1].decode()
    return name.lower() if name.isupper() else name


def stand_in(key: str) -> str:
    """Return what stands in the place of a key that is not known yet."""
    return f"{key}_PLACEHOLDER"
