"""What the bootloader has found, saved for its next start and for the system that it starts.

The files are µCernVM's (references/ucernvm-boot.md, section 7), and three more, so that the system need not ask again:
`metadata`, what the platform says of the instance, `vendor-data`, and `files`, what it hands over to be written. The
source `bootloader` of the system reads them.
"""

from __future__ import annotations

import json
import os
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from ucvm_agent.files.private_file import sync_folder
from ucvm_agent.sources.base import Found, PersonalityFile
from ucvm_agent.userdata.unpack import decode_base64

FOLDER = "context"
WORDS = {
    "azure": "Azure",
    "cloudstack": "CloudStack",
    "configdrive": "ConfigDrive",
    "ec2": "EC2",
    "gce": "GCE",
    "nocloud": "NoCloud",
    "opennebula": "OpenNebula",
    "openstack": "OpenStack",
    "vsphere": "vSphere",
}
"""How the file `source` names a source (section 4 there)."""


def save(found: Found, scratch: Path) -> None:
    """Write the files; the user-data come last, since they tell that the others are complete.

    Raises:
        OSError: they cannot be written.
    """
    folder = scratch / FOLDER
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    files = {
        "pickup.tar.gz": found.pickup,
        "vendor-data": found.vendor_data,
        "files": _listed(found.files) if found.files else None,
        "source": f"{WORDS.get(found.source, found.source)}\n".encode(),
        "metadata": json.dumps(asdict(found.metadata)).encode(),
        "user-data": _raw(found),
    }
    for name, content in files.items():
        if content is None:
            (folder / name).unlink(missing_ok=True)  # of an earlier start
        else:
            _replace(folder / name, content)
    sync_folder(folder)
    sync_folder(scratch)


def _listed(files: Iterable[PersonalityFile]) -> bytes:
    return json.dumps([[file.path, b64encode(file.content).decode()] for file in files]).encode()


def _raw(found: Found) -> bytes:
    data = found.user_data or b""
    # The platform may be wrong about it; the running system then reads the user-data as they are, too.
    decoded = decode_base64(data) if found.base64 else None
    return data if decoded is None else decoded


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.new")
    temporary.touch(mode=0o600)
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
