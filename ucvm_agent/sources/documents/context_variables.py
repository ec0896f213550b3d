"""What the variables of a `context.sh` mean, be it of OpenNebula or of HEPiX.

References/clouds.md, section 2.6, and references/amiconfig.md, section 6.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from ucvm_agent.sources.base import Metadata
from ucvm_agent.sources.claims import sound_addresses, sound_hostname, sound_instance_id, sound_keys

KEY_FILE = "ROOT_PUBKEY"
"""The keys themselves, or, with HEPiX, the name of the file beside `context.sh` that holds them."""

KEYS = ("SSH_KEY", "SSH_PUBLIC_KEY", "PUBLIC_KEY", KEY_FILE)
"""The variables that may hold public keys."""
_NAMES = ("SET_HOSTNAME", "HOSTNAME", "DNS_HOSTNAME", "PUBLIC_IP", "IP_PUBLIC", "ETH0_IP")
_ADDRESSES = ("PUBLIC_IP", "IP_PUBLIC", *(f"ETH{n}_{kind}" for n in range(16) for kind in ("IP", "IP6")))


def read_user_data(variables: Mapping[str, str]) -> tuple[bytes | None, bool]:
    """Return the user-data, and whether it is base64; without a variable for it there is none."""
    if value := variables.get("EC2_USER_DATA"):
        return _bytes(value), True
    for name in ("USER_DATA", "USERDATA"):
        if value := variables.get(name):
            return _bytes(value), variables.get(f"{name}_ENCODING", "").strip().lower() == "base64"
    return None, False


def _bytes(value: str) -> bytes:
    return value.encode(errors="surrogateescape")


def read_metadata(variables: Mapping[str, str]) -> Metadata:
    """Return what the variables say of the instance."""
    hostnames = (sound_hostname(variables.get(name, "")) for name in _NAMES)
    return Metadata(
        instance_id=_instance_id(variables),
        # DNS_HOSTNAME may also be a question: whether to ask the DNS.
        hostname=next((name for name in hostnames if name and name.lower() not in ("yes", "no")), ""),
        public_keys=sound_keys(line for name in KEYS for line in variables.get(name, "").splitlines()),
        addresses=sound_addresses(variables[name] for name in _ADDRESSES if name in variables),
    )


def _instance_id(variables: Mapping[str, str]) -> str:
    """Return the number of the machine, which counts within one installation of OpenNebula."""
    number = variables.get("VMID", "").strip()
    try:
        server = urlsplit(variables.get("ONEGATE_ENDPOINT", "")).netloc.rpartition("@")[2]
    except ValueError:
        server = ""
    return sound_instance_id(f"{number}-{server}" if number and server else number)
