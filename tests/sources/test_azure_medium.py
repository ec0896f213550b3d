"""What is read from the provisioning medium of Azure."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from tests.servers.imds import KEY
from tests.sources.images import make_image
from ucvm_agent.errors import SourceAbsent
from ucvm_agent.sources.azure_medium import TAG, read_medium
from ucvm_agent.sources.documents.ovf import MAX_SIZE

CUSTOM_DATA = base64.b64encode(b"#!/bin/sh\n").decode()
OVF = """\
<?xml version="1.0" encoding="utf-8"?>
<ns0:Environment xmlns:ns0="http://schemas.dmtf.org/ovf/environment/1"
    xmlns:ns1="http://schemas.microsoft.com/windowsazure">
  <ns1:ProvisioningSection>
    <ns1:Version>1.0</ns1:Version>
    <ns1:LinuxProvisioningConfigurationSet>
      <ns1:ConfigurationSetType>LinuxProvisioningConfiguration</ns1:ConfigurationSetType>
      <ns1:UserName>azureuser</ns1:UserName>
      <ns1:UserPassword>secret-password</ns1:UserPassword>
      <ns1:DisableSshPasswordAuthentication>false</ns1:DisableSshPasswordAuthentication>
      <ns1:HostName>worker-1</ns1:HostName>
      <ns1:SSH><ns1:PublicKeys><ns1:PublicKey><ns1:Value>KEY</ns1:Value></ns1:PublicKey></ns1:PublicKeys></ns1:SSH>
      <ns1:CustomData>DATA</ns1:CustomData>
    </ns1:LinuxProvisioningConfigurationSet>
  </ns1:ProvisioningSection>
</ns0:Environment>
""".replace("KEY", KEY)


@pytest.mark.parametrize("kind", ["udf", "udf-bridge", "both"])
async def test_custom_data_of_the_environment(tmp_path: Path, kind: str) -> None:
    """In base64; the password is read by nobody."""
    document = OVF.replace("DATA", CUSTOM_DATA).encode()
    image = make_image(tmp_path / "medium", {"ovf-env.xml": document}, kind=kind)
    found = await read_medium(str(image))
    assert (found.source, found.user_data, found.base64) == ("azure", CUSTOM_DATA.encode(), True)
    assert (found.metadata.hostname, found.metadata.public_keys) == ("worker-1", (KEY,))
    assert "secret" not in repr(found)


async def test_medium_without_custom_data(tmp_path: Path) -> None:
    """It is a medium all the same, so that userData of the metadata service is asked for."""
    image = make_image(tmp_path / "medium", {"ovf-env.xml": OVF.replace("DATA", "").encode()})
    assert (await read_medium(str(image))).user_data is None


async def test_custom_data_as_the_bootloader_had_it(tmp_path: Path) -> None:
    """Verbatim, beside the tag."""
    image = make_image(tmp_path / "medium", {"CustomData.bin": b"\x1f\x8b", TAG: b""}, kind="udf")
    found = await read_medium(str(image))
    assert (found.user_data, found.base64) == (b"\x1f\x8b", False)


BOMB = b"""<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><x>&b;</x>"""
OUTSIDE = b"""<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>"""


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"<html>",
        BOMB,
        OUTSIDE,
        OVF.encode()[:500],
        b" " * (MAX_SIZE + 1),
        b'<?xml version="1.0" encoding="x"?><a/>',
    ],
    ids=["empty", "page", "bomb", "outside", "half", "large", "encoding"],
)
async def test_odd_environment_is_no_medium(tmp_path: Path, document: bytes) -> None:
    """Nothing outside of it is read, and nothing grows."""
    image = make_image(tmp_path / "medium", {"ovf-env.xml": document})
    with pytest.raises(SourceAbsent):
        await read_medium(str(image))


async def test_environment_of_another_host_is_no_medium(tmp_path: Path) -> None:
    """That of vSphere has the same name."""
    document = b'<Environment xmlns="http://schemas.dmtf.org/ovf/environment/1"/>'
    image = make_image(tmp_path / "medium", {"ovf-env.xml": document})
    with pytest.raises(SourceAbsent):
        await read_medium(str(image))
