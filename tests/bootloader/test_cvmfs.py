"""A layer on CernVM-FS: what its client is told. A stand-in for the client mounts what it has understood."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.bootloader.machine import Machine
from tests.sources.images import make_image

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")

CLIENT = r"""
# cvmfs2 -o OPTIONS REPOSITORY MOUNTPOINT; like the client, it lets a shell read its configuration.
set -eu
[ $# -eq 4 ] && [ "$1" = -o ]
configuration= allow_other= suid=
for option in $(echo "$2" | tr , ' '); do
  case $option in
  config=*) configuration=${option#config=} ;;
  allow_other) allow_other=yes ;;
  cvmfs_suid) suid=yes ;;
  *) echo "unknown option $option" >&2; exit 1 ;;
  esac
done
[ -n "$allow_other$suid" ] && [ -d "$4" ]
mount -t tmpfs "$3" "$4"
mkdir -p "$4/mnt" "$4/cvm4/mnt"
(. "$configuration" && echo "repository=$3" && set | grep ^CVMFS_ | sort) >"$4/understood"
[ -d "$(. "$configuration" && echo "$CVMFS_CACHE_BASE")" ]
cp "$4/understood" "$4/cvm4"
mount -o remount,ro "$4"
"""
GOLDEN = Path(__file__).parent / "cvmfs"
BLOCK = b"""[ucernvm-begin]
cvmfs_branch=cernvm-sl7.cern.ch
cvmfs_tag=cernvm-system-4.5
cvmfs_server=one.example.org,two.example.org:8000
cvmfs_http_proxy="http://a.example.org:3128|http://b.example.org:3128;DIRECT"
cvmfs_pac_urls=http://wpad.example.org/wpad.dat
cernvm_path=cvm4
[ucernvm-end]
"""
KERNEL = (
    "cvmfs_repos=cernvm-prod.cern.ch cvmfs_repository_tag=HEAD4 cvmfs_server=cvmfs-stratum-one.cern.ch "
    "cvmfs_cdn=s1cern-cvmfs.openhtc.io,s1fnal-cvmfs.openhtc.io cvmfs_proxy=auto;DIRECT"
)
LAYER = "ucvm.boot.layer=cvmfs:cernvm-devel.cern.ch"


@pytest.fixture(autouse=True)
def client(machine: Machine) -> None:
    """The machine has the stand-in."""
    machine.programs["cvmfs2"] = CLIENT


@pytest.mark.parametrize("case", ["default", "kernel", "context", "url"])
def test_the_client_understands(case: str, machine: Machine, tmp_path: Path) -> None:
    """Repository, tag, servers, proxies, CDN and cache, from the context, the kernel, or built in."""
    machine.disks.add("scratch")
    if case == "context":
        machine.disks.plug(make_image(tmp_path / "drive", {"openstack/latest/user_data": BLOCK}, label="config-2"))
    words = {"default": "", "url": f"{KERNEL} cvmfs_url=http://s.example.org/cvmfs/x"}.get(case, KERNEL)
    start = machine.start(f"{words} {LAYER}", "cat understood; [ -d mnt/.rw/cache ]")
    assert start.code == 0, start.console
    assert start.output == (GOLDEN / case).read_text()


def test_a_full_scratch_disk(machine: Machine) -> None:
    """The cache is in memory then, with what is needed to see the same accounts; the changes are there."""
    machine.disks.add("scratch")
    fill = "echo mine > file; echo 1 2 > mnt/.rw/aux/uid_map; dd if=/dev/zero of=filler bs=1M || true"
    assert machine.start(LAYER, fill).code == 0
    start = machine.start(LAYER, "cat file mnt/.rw/aux/uid_map; stat -f -c %T mnt/.rw/cache")
    assert (start.code, start.output) == (0, "mine\n1 2\ntmpfs\n"), start.console


def test_without_a_scratch_disk(machine: Machine) -> None:
    """The cache has half of the memory that the changes may have."""
    start = machine.start(LAYER, "grep QUOTA understood; stat -f -c '%b %S' mnt/.rw")
    assert start.code == 0, start.console
    quota, size = start.output.splitlines()
    blocks, block = map(int, size.split())
    megabytes = blocks * block // 1_000_000
    assert quota == f"CVMFS_QUOTA_LIMIT='{2000 if megabytes > 4000 else megabytes // 2}'"


def test_a_client_that_cannot_mount(machine: Machine) -> None:
    """There is no root, and the console has the client's last word."""
    machine.programs["cvmfs2"] = "echo 'failed to load root catalog (9 - host connection problem)' >&2; exit 1"
    start = machine.start(LAYER)
    assert start.code == 1
    assert "host connection problem" in start.console


def test_no_client(machine: Machine) -> None:
    """The initial RAM disk has none."""
    machine.programs.clear()
    start = machine.start(LAYER)
    assert start.code == 1
    assert "this initial RAM disk has no cvmfs2 (build it where CernVM-FS is installed)" in start.console
