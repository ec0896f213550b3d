"""The client of CernVM-FS, told by a file what µCernVM told it (references/ucernvm-boot.md, section 5)."""

from __future__ import annotations

import os
import random
import re
import shutil
from pathlib import Path

from ucvm_agent.bootloader.mounting import make_folder, run
from ucvm_agent.bootloader.snapshot import FORCED, SNAPSHOT, Snapshot, choose, keep
from ucvm_agent.bootloader.wishes import Wishes
from ucvm_agent.errors import BootError

SERVERS = ("hepvm.cern.ch",)
PROXY = "auto;DIRECT"
SITE_PACS = ("http://grid-wpad/wpad.dat", "http://wpad/wpad.dat")
CERNVM_PACS = ("http://cernvm-wpad.cern.ch/wpad.dat", "http://cernvm-wpad.fnal.gov/wpad.dat")
"""Where `auto` learns of proxies: from the site, or else of CernVM's servers, of which machines take turns."""
MAPS = ("aux/uid_map", "aux/gid_map")
"""Numbers of accounts that the client shows as others (section 7 there)."""
KEPT = (*MAPS, SNAPSHOT, FORCED)
"""What on the scratch file system decides how the system looks."""
_LARGE = 4000
_QUOTA = 2000
"""MB of cache on a scratch file system that is larger than `_LARGE` MB; on others half of it."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*")
_MOUNT_SECONDS = 300.0


def mount_repository(repository: str, wishes: Wishes, target: Path, scratch: Path) -> None:
    """Mount a repository: the snapshot that the machine stays on, and if that is none yet, it stays on this one.

    Arguments:
        scratch: a file system that can be written, for the configuration and the cache.

    Raises:
        BootError: the client is not here, or cannot mount it; or the context names none.
    """
    if shutil.which("cvmfs2") is None:
        raise BootError("this initial RAM disk has no cvmfs2", hint="build it where CernVM-FS is installed")
    if not _NAME.fullmatch(repository):
        raise BootError(f"{repository!r} is no repository")
    chosen = choose(repository, wishes.tag, scratch)
    configuration = scratch / "aux/cvmfs.conf"
    for folder in (scratch / "cache", configuration.parent, target):
        make_folder(folder)
    try:
        for name in MAPS:
            (scratch / name).touch()
        space = os.statvfs(scratch)
        megabytes = space.f_blocks * space.f_frsize // 1_000_000
        configuration.write_text(render(repository, wishes, chosen, scratch, megabytes))
    except OSError as error:
        raise BootError(f"cannot be written: {error.strerror}", where=str(configuration.parent)) from None
    options = f"allow_other,config={configuration},cvmfs_suid"
    run("cvmfs2", "-o", options, repository, target, seconds=_MOUNT_SECONDS)
    keep(repository, chosen, target, scratch)


def render(repository: str, wishes: Wishes, chosen: Snapshot, scratch: Path, megabytes: int) -> str:
    """Return the configuration of the client.

    Arguments:
        chosen: the snapshot, whatever the wishes say of it.
        megabytes: size of the scratch file system.

    Raises:
        BootError: a value would be read as more than a value.
    """
    urls = wishes.url or ";".join(f"http://{server}/cvmfs/{repository}" for server in wishes.servers or SERVERS)
    values = {
        "CVMFS_CACHE_BASE": scratch / "cache",
        "CVMFS_RELOAD_SOCKETS": scratch / "cache",
        "CVMFS_NFILES": 65536,
        "CVMFS_QUOTA_LIMIT": _QUOTA if megabytes > _LARGE else megabytes // 2,
        "CVMFS_SERVER_URL": urls,
        "CVMFS_HTTP_PROXY": wishes.proxy or PROXY,
        "CVMFS_PAC_URLS": wishes.pac_urls or ";".join((*SITE_PACS, *random.sample(CERNVM_PACS, 2))),
        "CVMFS_KEYS_DIR": f"/etc/cvmfs/keys/{repository}",
        "CVMFS_CHECK_PERMISSIONS": "yes",
        "CVMFS_IGNORE_SIGNATURE": "no",
        "CVMFS_AUTO_UPDATE": "no",
        "CVMFS_NFS_SOURCE": "no",
        "CVMFS_PROXY_RESET_AFTER": 86400,
        "CVMFS_MAX_RETRIES": 0,
        "CVMFS_TIMEOUT": 5,
        "CVMFS_TIMEOUT_DIRECT": 5,
        "CVMFS_USE_GEOAPI": "yes",
        "CVMFS_MAX_IPADDR_PER_PROXY": 2,
        "CVMFS_BACKOFF_INIT": 2,
        "CVMFS_BACKOFF_MAX": 12,
        "CVMFS_USYSLOG": scratch / "cache/usyslog",
        "CVMFS_UID_MAP": scratch / MAPS[0],
        "CVMFS_GID_MAP": scratch / MAPS[1],
        "CVMFS_HIDE_MAGIC_XATTRS": "yes",
        "CVMFS_SYSTEMD_NOKILL": "yes",
        "CVMFS_REPOSITORY_TAG": chosen.tag,
        "CVMFS_ROOT_HASH": chosen.root_hash,
    }
    return "".join(f'{name}="{_plain(name, value)}"\n' for name, value in values.items() if value != "")


def _plain(name: str, value: object) -> str:
    """The client lets a shell read its file, so that what a shell would do something with must not be there."""
    text = str(value)
    if re.search(r'["$`\\\n]', text):
        raise BootError("this value would be more than text", where=name)
    return text
