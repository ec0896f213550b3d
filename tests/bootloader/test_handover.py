"""What the bootloader saves is what the source `bootloader` of the running system reads."""

from __future__ import annotations

import base64
import stat
from pathlib import Path

from ucvm_agent.bootloader import handover
from ucvm_agent.settings import Bootloader
from ucvm_agent.sources.base import Found, Metadata, PersonalityFile
from ucvm_agent.sources.bootloader import Source


async def test_the_system_learns_what_the_bootloader_has_found(tmp_path: Path) -> None:
    """User-data, where they are from, and what the platform says of the instance."""
    metadata = Metadata(instance_id="i-1", hostname="vm7", public_keys=("ssh-ed25519 AAAA me",))
    data = b"#!/bin/sh\necho hello\n"
    handover.save(Found("ec2", "http://x", base64.b64encode(data), base64=True, metadata=metadata), tmp_path)
    handover.save(Found("ec2", "http://x", data, metadata=metadata), tmp_path)  # the next start
    folder = tmp_path / "context"
    assert [stat.S_IMODE(path.stat().st_mode) for path in (folder, folder / "user-data")] == [0o700, 0o600]
    found = await Source(Bootloader(context=str(folder), extra=str(tmp_path / "extra"))).fetch()
    assert (found.user_data, found.metadata) == (data, metadata)
    assert found.origin.endswith("(from EC2)")


async def test_what_else_the_platform_gave_is_handed_over(tmp_path: Path) -> None:
    """Vendor data and files would be lost otherwise, since nobody asks for them again; those of before go."""
    files = (PersonalityFile("/etc/motd", b"\xff\n"),)
    handover.save(Found("configdrive", "/dev/sr0", b"x\n", b"#cloud-config\na: 1\n", files=files), tmp_path)
    source = Source(Bootloader(context=str(tmp_path / "context"), extra=str(tmp_path / "extra")))
    found = await source.fetch()
    assert (found.vendor_data, found.files) == (b"#cloud-config\na: 1\n", files)
    (tmp_path / "context/files").write_text('[["/etc/motd"]]')
    assert (await source.fetch()).files == ()
    handover.save(Found("configdrive", "/dev/sr0", b"y\n"), tmp_path)
    found = await source.fetch()
    assert (found.user_data, found.vendor_data, found.files) == (b"y\n", None, ())


async def test_what_is_damaged_is_left_out(tmp_path: Path) -> None:
    """A file of metadata that nobody can read is as if there were none."""
    handover.save(Found("configdrive", "/dev/sr0", b"x\n"), tmp_path)
    (tmp_path / "context/metadata").write_text("{")
    found = await Source(Bootloader(context=str(tmp_path / "context"), extra=str(tmp_path / "extra"))).fetch()
    assert found.user_data == b"x\n"
    assert found.metadata.derived


def test_what_the_platform_takes_for_base64_is_saved_as_it_is(tmp_path: Path) -> None:
    """If it is not; the running system has to read the same as the bootloader."""
    handover.save(Found("azure", "", b"#!/bin/sh\n", base64=True), tmp_path)
    assert (tmp_path / "context/user-data").read_bytes() == b"#!/bin/sh\n"
