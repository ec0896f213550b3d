"""What the bootloader's block and the kernel's parameters want of the root."""

from __future__ import annotations

from pathlib import Path

import pytest

from ucvm_agent.bootloader.cvmfs import render
from ucvm_agent.bootloader.layer import Kind, Layer, below
from ucvm_agent.bootloader.snapshot import Snapshot
from ucvm_agent.bootloader.wishes import Wishes, read_wishes
from ucvm_agent.errors import BootError
from ucvm_agent.sources.base import Found
from ucvm_agent.userdata.decode import decode

KERNEL = 'console=ttyS0 cvmfs_repos=kernel.example.org cvmfs_server=a,b cernvm_path=cvm4 cvmfs_cdn=NONE x="y z'


def wishes(block: str, kernel: str = "") -> Wishes:
    context = decode(Found("file", "", f"[ucernvm-begin]\n{block}\n[ucernvm-end]\n".encode()))
    return read_wishes(context, kernel)


def test_the_context_overrules_the_kernel() -> None:
    """And what it does not say, the kernel says."""
    read = wishes("cvmfs_branch=sft.example.org\nresize_rootfs=off\nuse_boothd=yes", KERNEL)
    assert read == Wishes(
        repository="sft.example.org", servers=("a", "b"), path="cvm4", limited=True, spares_second_disk=True
    )


def test_a_proxy_of_the_context_switches_the_cdn_off() -> None:
    """Unless the context names the CDN itself."""
    kernel = "cvmfs_server=s cvmfs_cdn=c1,c2"
    assert wishes("resize_rootfs=on", kernel).servers == ("c1", "c2")
    assert wishes('cvmfs_http_proxy="http://p:1;DIRECT"', kernel).servers == ("s",)
    assert wishes("cvmfs_http_proxy=DIRECT\ncvmfs_cdn=c3", kernel).servers == ("c3",)


def test_the_client_is_told_what_the_context_says() -> None:
    """Values are quoted, since the file is read by a shell."""
    wanted = wishes('cvmfs_http_proxy="http://p:1;DIRECT"')
    text = render("sft.example.org", wanted, Snapshot(tag="v1"), Path("/rw"), 3000)
    assert 'CVMFS_HTTP_PROXY="http://p:1;DIRECT"\n' in text
    assert 'CVMFS_REPOSITORY_TAG="v1"\n' in text
    assert 'CVMFS_SERVER_URL="http://hepvm.cern.ch/cvmfs/sft.example.org"\n' in text
    assert 'CVMFS_QUOTA_LIMIT="1500"\n' in text


@pytest.mark.parametrize("value", ["$(reboot)", "`reboot`", 'a"; reboot; "'])
def test_a_value_that_a_shell_would_run_is_refused(value: str) -> None:
    """The client's configuration is sourced."""
    with pytest.raises(BootError, match="more than text"):
        render("sft.example.org", Wishes(proxy=value), Snapshot(), Path("/rw"), 3000)


def test_a_layer_says_what_it_is() -> None:
    """A kind, a colon, a place."""
    assert Layer.parse("squashfs:/dev/vdb") == Layer(Kind.SQUASHFS, "/dev/vdb")
    assert Layer.parse("dir:LABEL=data/os").place == "LABEL=data/os"
    for wrong in ("", "squashfs", "squashfs:", "nfs:host"):
        with pytest.raises(BootError, match="is no layer"):
            Layer.parse(wrong)


def test_a_path_stays_within_the_layer(tmp_path: Path) -> None:
    """Neither dots nor links lead out of it."""
    (tmp_path / "layer/cvm4").mkdir(parents=True)
    (tmp_path / "layer/out").symlink_to("/etc")
    assert below(tmp_path / "layer", "/cvm4") == tmp_path / "layer/cvm4"
    for path in ("../..", "out", "missing"):
        with pytest.raises(BootError):
            below(tmp_path / "layer", path)
