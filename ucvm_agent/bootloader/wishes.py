"""What the bootloader's block of the user-data wants of the root file system (references/ucernvm-boot.md, section 3).

The block is read by `userdata`, as in the running system. What it does not say, the parameters of the kernel say,
which µCernVM had as well (section 1 there).
"""

from __future__ import annotations

from dataclasses import dataclass

from ucvm_agent.sources.machine import split_command_line
from ucvm_agent.userdata.context import UCERNVM, Context

PARAMETERS = {
    "cvmfs_branch": "cvmfs_repos",
    "cvmfs_tag": "cvmfs_repository_tag",
    "cvmfs_server": "cvmfs_server",
    "cvmfs_cdn": "cvmfs_cdn",
    "cvmfs_http_proxy": "cvmfs_proxy",
    "cernvm_path": "cernvm_path",
}
"""Kernel parameters by the key of the block that overrules them."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """The keys that concern what is mounted; an empty string is one that nobody has written.

    Arguments:
        url: where the repository is, instead of what follows from the servers.
        path: folder of the layer that is the root.
        limited: the scratch file system may not have all of its disk.
        spares_second_disk: an empty disk is not taken.
    """

    repository: str = ""
    tag: str = ""
    servers: tuple[str, ...] = ()
    url: str = ""
    proxy: str = ""
    pac_urls: str = ""
    path: str = ""
    limited: bool = False
    spares_second_disk: bool = False


def read_wishes(context: Context, kernel_command_line: str) -> Wishes:
    """Return what the context and, beneath it, the kernel's parameters say."""
    words = dict(word.split("=", 1) for word in split_command_line(kernel_command_line) if "=" in word)

    def text(key: str) -> str:
        entry = context.entry(f"{UCERNVM} {key}")
        return str(entry.value) if entry is not None else words.get(PARAMETERS.get(key, ""), "")

    def written(*keys: str) -> bool:
        return any(context.entry(f"{UCERNVM} {key}") is not None for key in keys)

    cdn = "" if written("cvmfs_http_proxy", "cvmfs_server") and not written("cvmfs_cdn") else text("cvmfs_cdn")
    servers = text("cvmfs_server") if cdn in ("", "NONE") else cdn
    return Wishes(
        repository=text("cvmfs_branch"),
        tag=text("cvmfs_tag"),
        servers=tuple(server.strip() for server in servers.split(",") if server.strip()),
        url="" if written("cvmfs_server", "cvmfs_cdn") else words.get("cvmfs_url", ""),
        proxy=text("cvmfs_http_proxy"),
        pac_urls=text("cvmfs_pac_urls"),
        path=text("cernvm_path"),
        limited=text("resize_rootfs") == "0",
        spares_second_disk=text("use_boothd") == "1",
    )
