"""The tree of files beneath `openstack/`, on a config drive or at the metadata service.

References/clouds.md, section 2.2.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import structlog
from pydantic_core import from_json

from ucvm_agent.sources.base import Metadata, PersonalityFile
from ucvm_agent.sources.claims import sound_addresses, sound_hostname, sound_instance_id, sound_keys
from ucvm_agent.sources.documents.lenient import Document, Mappings, Text, Texts, read_json

log = structlog.get_logger()

VERSIONS = (
    "2018-08-27",
    "2017-02-22",
    "2016-10-06",
    "2016-06-30",
    "2015-10-15",
    "2013-10-17",
    "2013-04-04",
    "2012-08-10",
    "latest",
)
"""Folders beneath `openstack/`, in the order of preference."""

MAX_FILES = 100
"""Most files that are handed over."""
MAX_PATH = 100
"""Most characters of a path that are logged."""

_CONTENT = re.compile(r"content/\w+")
_FOR_US = "cloud-init"
"""The key of vendor data that is meant for agents like this one."""


class MetaData(Document):
    """What is read of `meta_data.json`."""

    uuid: Text = ""
    hostname: Text = ""
    name: Text = ""
    availability_zone: Text = ""
    public_keys: Texts = ()
    keys: Mappings = ()
    files: Mappings = ()


class NetworkData(Document):
    """What is read of `network_data.json`."""

    networks: Mappings = ()


def read_metadata(meta_data: bytes | None, network_data: bytes | None = None) -> Metadata:
    """Return what `meta_data.json` and `network_data.json` say of the instance; its uuid is the instance-id."""
    meta = read_json(MetaData, meta_data, "meta_data.json")
    network = read_json(NetworkData, network_data, "network_data.json")
    keys = [str(key.get("data", "")) for key in meta.keys if key.get("type", "ssh") == "ssh"]
    addresses = [str(each.get("ip_address", "")).partition("/")[0] for each in network.networks]
    return Metadata(
        instance_id=sound_instance_id(meta.uuid),
        hostname=sound_hostname(meta.hostname) or sound_hostname(meta.name),
        zone=meta.availability_zone,
        public_keys=sound_keys(line for text in [*meta.public_keys, *keys] for line in text.splitlines()),
        addresses=sound_addresses(addresses),
    )


def read_files(meta_data: bytes | None, read: Callable[[str], bytes | None]) -> tuple[PersonalityFile, ...]:
    """Return the files that `meta_data.json` hands over; one that is not sound or not there is left out.

    Arguments:
        read: returns a document by its path beneath `openstack/`.
    """
    files: dict[str, PersonalityFile] = {}
    for entry in read_json(MetaData, meta_data, "meta_data.json").files[:MAX_FILES]:
        path, source = str(entry.get("path", "")), str(entry.get("content_path", "")).lstrip("/")
        sound = path.startswith("/") and not {"", ".", ".."} & set(path.split("/")[1:]) and "\0" not in path
        content = read(source) if sound and _CONTENT.fullmatch(source) else None
        if content is None:
            log.warning("a file of the personality is left out", path=path[:MAX_PATH], content=source[:MAX_PATH])
        else:
            files[path] = PersonalityFile(path, content)
    return tuple(files.values())


def read_vendor_data(*documents: bytes | None) -> bytes | None:
    """Return the user-data that `vendor_data.json` and `vendor_data2.json` hold for us, the later overruling.

    Either is a text, a list of texts, or a mapping with one of these under `cloud-init`.
    """
    texts = [text for document in documents if document for text in _texts_for_us(document)]
    if len(texts) < 2:
        return texts[0].encode() if texts else None
    return b"#cloud-config-archive\n" + json.dumps(texts).encode()


def _texts_for_us(document: bytes) -> list[str]:
    try:
        content: Any = from_json(document)
    except ValueError:
        log.warning("the vendor data is not understood", expected="JSON")
        return []
    if isinstance(content, dict):
        content = content.get(_FOR_US)
    texts = content if isinstance(content, list) else [content]
    return [text for text in texts if isinstance(text, str) and text.strip()]
