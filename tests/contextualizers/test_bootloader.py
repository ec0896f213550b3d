"""What is left to do of the bootloader's block."""

from __future__ import annotations

import io
import tarfile
from base64 import b64encode
from pathlib import Path

from contextualizers.bootloader import Bootloader
from tests.contextualizers.ask import ask, furnish
from ucvm_agent.contextualize.actions import ExtractArchive
from ucvm_agent.contextualize.system import System


def archive() -> bytes:
    """Return a small archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.addfile(tarfile.TarInfo("etc/motd"))
    return buffer.getvalue()


def block(*lines: str) -> str:
    """Return the block with these lines."""
    return "\n".join(["[ucernvm-begin]", *lines, "[ucernvm-end]", ""])


def test_the_archive_is_unpacked_unless_the_bootloader_did(tmp_path: Path, system: System) -> None:
    """Its marker tells."""
    text = block(f"cernvm_inject={b64encode(archive()).decode()}", "useglideinWMS=off")
    assert ask(Bootloader(), text, system).actions == [
        ExtractArchive(path="/", content=archive(), name="cernvm_inject")
    ]
    furnish(tmp_path, {"/mnt/.rw/context/injected": ""})
    assert ask(Bootloader(), text, system).actions == []


def test_what_is_no_archive_is_an_error(system: System) -> None:
    """With its line."""
    assert ask(Bootloader(), block("cvmfs_tag=HEAD4", "cernvm_inject=bm8="), system).texts == [
        "error 3: [ucernvm-begin] cernvm_inject: expected base64 of a tar.gz archive, and this is no gzip"
    ]


def test_values_that_the_bootloader_does_not_understand_are_errors(system: System) -> None:
    """It takes them as if they were not there: a disk that was to be spared is formatted."""
    assert ask(Bootloader(), block("resize_rootfs=off", "use_boothd=yes", "cvmfs_wait_on_squid=5"), system).texts == []
    assert ask(Bootloader(), block("resize_rootfs=", "use_boothd=", "cvmfs_wait_on_squid="), system).texts == []
    lines = ("resize_rootfs=maybe", "use_boothd=perhaps", "useglideinWMS=never", "cvmfs_wait_on_squid=soon")
    assert ask(Bootloader(), block(*lines), system).texts == [
        "error 2: [ucernvm-begin] resize_rootfs: expected on or off",
        "error 3: [ucernvm-begin] use_boothd: expected on or off",
        "error 4: [ucernvm-begin] useglideinwms: expected on or off",
        "error 5: [ucernvm-begin] cvmfs_wait_on_squid: expected a number",
    ]


def test_a_cluster_pin_that_is_none_is_an_error(system: System) -> None:
    """Since there would be no cluster, and nothing else would tell; the PIN itself is a secret."""
    assert ask(Bootloader(), block("cvm_cluster_pin=abcdef123456"), system).texts == []
    [text] = ask(Bootloader(), block("cvm_cluster_pin=Hunter2"), system).texts
    assert "expected a cluster PIN of 12" in text
    assert "Hunter2" not in text
