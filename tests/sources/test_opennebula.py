"""What the variables of OpenNebula mean."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from tests.contextualizers.ask import OTHER_KEY
from tests.servers.imds import KEY
from tests.sources.images import make_image
from ucvm_agent.errors import SourceAbsent, SourceRefused
from ucvm_agent.settings import OpenNebula
from ucvm_agent.sources.base import Found
from ucvm_agent.sources.opennebula import Source

ENCODED = base64.b64encode(b"#!/bin/sh\n").decode()


async def fetch(folder: Path, text: str | bytes, *, kind: str = "both") -> Found:
    content = text.encode() if isinstance(text, str) else text
    image = make_image(folder / "context", {"context.sh": content}, kind=kind, label="CONTEXT")
    return await Source(OpenNebula(device=str(image))).fetch()


@pytest.mark.parametrize("kind", ["plain", "both", "fat12"])
async def test_context_of_cernvm(tmp_path: Path, kind: str) -> None:
    """`EC2_USER_DATA` is base64, and the machine has its number within its installation as instance-id."""
    text = f"""\
EC2_USER_DATA='{ENCODED}'
USER_DATA='other'
ROOT_PUBKEY='{KEY}'
SSH_PUBLIC_KEY='{KEY}
no key'
SET_HOSTNAME='worker-1'
VMID='42'
ONEGATE_ENDPOINT='http://10.0.0.1:5030'
ETH0_IP='10.0.0.7'
ETH1_IP6='2001:db8::7'
"""
    found = await fetch(tmp_path, text, kind=kind)
    assert (found.user_data, found.base64) == (ENCODED.encode(), True)
    assert found.origin.endswith("context.sh")
    assert (found.metadata.instance_id, found.metadata.hostname) == ("42-10.0.0.1:5030", "worker-1")
    assert found.metadata.public_keys == (KEY,)
    assert found.metadata.addresses == ("10.0.0.7", "2001:db8::7")


@pytest.mark.parametrize("named", ["root.pub", "absent", "../root.pub"])
async def test_context_of_hepix(tmp_path: Path, named: str) -> None:
    """It has keys in a variable of its own, or names a file on the medium that holds them."""
    files = {"context.sh": f"PUBLIC_KEY='{KEY}'\nROOT_PUBKEY={named}\n".encode(), "root.pub": OTHER_KEY.encode()}
    image = make_image(tmp_path / "context", files, label="CONTEXT")
    found = await Source(OpenNebula(device=str(image))).fetch()
    assert found.metadata.public_keys == ((KEY, OTHER_KEY) if named == "root.pub" else (KEY,))


@pytest.mark.parametrize(
    ("text", "user_data", "is_base64"),
    [
        (f"USER_DATA='{ENCODED}'\nUSER_DATA_ENCODING='base64'\n", ENCODED.encode(), True),
        (f"USERDATA='{ENCODED}'\nUSERDATA_ENCODING='BASE64'\n", ENCODED.encode(), True),
        ("USER_DATA='#cloud-config\nhostname: w'\n", b"#cloud-config\nhostname: w", False),
        ("USER_DATA='\xff'\n".encode("latin-1"), b"\xff", False),
        ("DNS_HOSTNAME='YES'\nVMID='7'\n", None, False),
        ("", None, False),
    ],
)
async def test_user_data_and_its_encoding(
    tmp_path: Path, text: str | bytes, user_data: bytes | None, is_base64: bool
) -> None:
    """The encoding is what the variable says; a context without user-data is a context."""
    found = await fetch(tmp_path, text)
    assert (found.user_data, found.base64, found.metadata.hostname) == (user_data, is_base64, "")
    assert found.metadata.instance_id


async def test_program_in_the_context_is_refused_and_not_run(tmp_path: Path) -> None:
    """The line is named."""
    with pytest.raises(SourceRefused, match="a command substitution on line 1"):
        await fetch(tmp_path, f"A=$(touch {tmp_path}/run)\n")
    assert not (tmp_path / "run").exists()


async def test_other_volume_is_absent(tmp_path: Path) -> None:
    """Without `context.sh` it is another platform's."""
    image = make_image(tmp_path / "other", {"readme": b""})
    with pytest.raises(SourceAbsent, match=r"context\.sh"):
        await Source(OpenNebula(device=str(image))).fetch()
