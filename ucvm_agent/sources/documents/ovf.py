"""`ovf-env.xml`, the environment that a host gives a guest: Azure's in its own words, vSphere's as properties.

References/clouds.md, sections 2.5 and 2.7. No entity is expanded.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from xml.etree.ElementTree import Element, ParseError

import structlog

from ucvm_agent.sources.base import Metadata
from ucvm_agent.sources.claims import sound_hostname, sound_instance_id, sound_keys

log = structlog.get_logger()

MAX_SIZE = 1024 * 1024
"""Most bytes of the document."""

_AZURE = "{http://schemas.microsoft.com/windowsazure}"
_OVF = "{http://schemas.dmtf.org/ovf/environment/1}"


@dataclass(frozen=True, slots=True)
class Environment:
    """What the document says.

    Arguments:
        is_azure: it is of Azure, so of a provisioning medium.
        user_data: in base64; None if there is none.
        seedfrom: where there is a NoCloud seed with more, or an empty string.
    """

    is_azure: bool
    user_data: bytes | None = field(repr=False)
    metadata: Metadata
    seedfrom: str = ""


def read_environment(document: bytes) -> Environment | None:
    """Return what the document says, or None, with a warning, if it is no such document."""
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import fromstring

    if len(document) > MAX_SIZE:
        log.warning("ovf-env.xml is too large", bytes=len(document), most=MAX_SIZE)
        return None
    try:
        root: Element = fromstring(document, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError):  # an encoding that nobody knows
        log.warning("ovf-env.xml is not understood")
        return None
    provisioning = next(root.iter(f"{_AZURE}LinuxProvisioningConfigurationSet"), None)
    if provisioning is not None:
        return _azure(provisioning)
    if any(element.tag.startswith(_AZURE) for element in root.iter()):
        return Environment(True, None, Metadata())
    return _properties(root) if root.tag == f"{_OVF}Environment" else None


def _azure(provisioning: Element) -> Environment:
    def text(name: str) -> str:
        return (provisioning.findtext(f"{_AZURE}{name}") or "").strip()

    keys = [
        (value.text or "") for key in provisioning.iter(f"{_AZURE}PublicKey") for value in key.iter(f"{_AZURE}Value")
    ]
    metadata = Metadata(hostname=sound_hostname(text("HostName")), public_keys=sound_keys(keys))
    return Environment(True, text("CustomData").encode() or None, metadata)


def _properties(root: Element) -> Environment:
    values = {
        element.get(f"{_OVF}key", ""): element.get(f"{_OVF}value", "") for element in root.iter(f"{_OVF}Property")
    }
    metadata = Metadata(
        instance_id=sound_instance_id(values.get("instance-id", "")),
        hostname=sound_hostname(values.get("hostname", "")),
        public_keys=sound_keys(values.get("public-keys", "").splitlines()),
    )
    user_data = values.get("user-data", "").encode() or None
    return Environment(False, user_data, metadata, values.get("seedfrom", ""))
