"""A layer on CernVM-FS: what its client is told. A stand-in for the client mounts what it has understood."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.bootloader.machine import Machine
from tests.sources.images import make_image
from ucvm_agent.bootloader.cvmfs import CERNVM_PACS

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
setfattr -n user.root_hash -v "$(. "$configuration" && echo "${CVMFS_ROOT_HASH:-$NEWEST}")" "$4"
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
    machine.programs["cvmfs2"] = client_of("a" * 40)


def client_of(newest: str) -> str:
    """Return the stand-in for a repository whose newest snapshot has this root hash."""
    return f"NEWEST={newest}\n{CLIENT}"


@pytest.mark.parametrize("case", ["default", "kernel", "context", "url"])
def test_the_client_understands(case: str, machine: Machine, tmp_path: Path) -> None:
    """Repository, tag, servers, proxies, CDN and cache, from the context, the kernel, or built in."""
    machine.disks.add("scratch")
    if case == "context":
        machine.disks.plug(make_image(tmp_path / "drive", {"openstack/latest/user_data": BLOCK}, label="config-2"))
    words = {"default": "", "url": f"{KERNEL} cvmfs_url=http://s.example.org/cvmfs/x"}.get(case, KERNEL)
    start = machine.start(f"{words} {LAYER}", "cat understood; [ -d mnt/.rw/cache ]")
    assert start.code == 0, start.console
    # Of CernVM's two, either may be the first.
    first, second = CERNVM_PACS
    assert start.output.replace(f"{second};{first}", f"{first};{second}") == (GOLDEN / case).read_text()


def test_the_machine_stays_on_its_snapshot(machine: Machine) -> None:
    """Until somebody forces a tag; the snapshot of one repository does not count for another."""
    machine.disks.add("scratch")
    hashes = [digit * 40 for digit in "abcd"]
    tag = f"{LAYER} cvmfs_repository_tag=HEAD"
    look = "cat mnt/.rw/aux/cvmfs_snapshot; grep -E 'HASH|TAG' understood || true"
    kept = f"{hashes[0]}\nHEAD\ncernvm-devel.cern.ch\n"
    assert machine.start(tag, look).output == f"{kept}CVMFS_REPOSITORY_TAG='HEAD'\n"

    machine.programs["cvmfs2"] = client_of(hashes[1])
    told = f"CVMFS_REPOSITORY_TAG='HEAD'\nCVMFS_ROOT_HASH='{hashes[0]}'\n"
    start = machine.start(tag, f"{look}; echo v2 > mnt/.rw/aux/cvmfs_force_tag")
    assert start.output == kept + told, start.console
    start = machine.start(tag, f"{look}; rm mnt/.rw/aux/cvmfs_force_tag")
    forced = f"{hashes[1]}\nv2\ncernvm-devel.cern.ch\n"
    assert start.output == f"{forced}CVMFS_REPOSITORY_TAG='v2'\n", start.console

    machine.programs["cvmfs2"] = client_of(hashes[2])
    start = machine.start(f"{tag} cvmfs_repos=other.cern.ch", f"{look}; echo x > mnt/.rw/aux/cvmfs_snapshot")
    assert start.output == f"{hashes[2]}\nHEAD\nother.cern.ch\nCVMFS_REPOSITORY_TAG='HEAD'\n", start.console
    machine.programs["cvmfs2"] = client_of(hashes[3])
    start = machine.start(tag, look)
    assert start.output == f"{hashes[3]}\nHEAD\ncernvm-devel.cern.ch\nCVMFS_REPOSITORY_TAG='HEAD'\n", start.console
    assert "cvmfs_snapshot is damaged" in start.console


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
