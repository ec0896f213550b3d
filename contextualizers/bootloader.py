"""What `[ucernvm-begin]` says to the bootloader, which has done it when this agent starts.

The keys are read here so that nobody takes them for misspelt (references/ucernvm-boot.md, section 3). The one that
concerns the running system is `cernvm_inject`, an archive that is unpacked over it; those of a cluster are followed
by the agent itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from contextualizers.encoded import decode_base64
from ucvm_agent.contextualize.actions import ExtractArchive
from ucvm_agent.contextualize.base import Action, Context, Contextualizer, Frequency, Options, Reads, System

_GZIP = b"\x1f\x8b"
_PIN = re.compile(r"[a-z0-9]{12}")
_MARKER = "/mnt/.rw/context/injected"


def _archive(value: Any) -> Any:
    try:
        data = decode_base64(str(value))
    except ValueError:
        raise ValueError("expected base64 of a tar.gz archive, and this is no base64") from None
    if not data.startswith(_GZIP):
        raise ValueError("expected base64 of a tar.gz archive, and this is no gzip")
    return data


def _cluster_pin(value: Any) -> Any:
    if value and not _PIN.fullmatch(str(value)):
        raise ValueError("expected a cluster PIN of 12 small letters and digits; there is no cluster without")
    return value


def _switch(value: Any) -> Any:
    """Refuse what the block's reader has made neither 0 nor 1 of (references/ucernvm-boot.md, section 3)."""
    if str(value) not in ("", "0", "1"):
        raise ValueError("expected on or off")
    return value


Switch = Annotated[Any, BeforeValidator(_switch)]
Seconds = Annotated[float | None, BeforeValidator(lambda value: value or None)]
"""Nothing behind the = is as good as no line."""


class BootloaderOptions(Options):
    """The settings of the bootloader; only `inject` has an effect here."""

    inject: Annotated[bytes | None, BeforeValidator(_archive), Reads("[ucernvm-begin] cernvm_inject")] = Field(
        None, repr=False
    )
    cernvm_path: Annotated[Any, Reads("[ucernvm-begin] cernvm_path")] = None
    cluster_master: Annotated[Any, Reads("[ucernvm-begin] cvm_cluster_master")] = None
    cluster_pin: Annotated[Any, BeforeValidator(_cluster_pin), Reads("[ucernvm-begin] cvm_cluster_pin")] = Field(
        None, repr=False
    )
    service_url: Annotated[Any, Reads("[ucernvm-begin] cvm_service_url")] = None
    branch: Annotated[Any, Reads("[ucernvm-begin] cvmfs_branch")] = None
    cdn: Annotated[Any, Reads("[ucernvm-begin] cvmfs_cdn")] = None
    server: Annotated[Any, Reads("[ucernvm-begin] cvmfs_server")] = None
    tag: Annotated[Any, Reads("[ucernvm-begin] cvmfs_tag")] = None
    wait_on_squid: Annotated[Seconds, Reads("[ucernvm-begin] cvmfs_wait_on_squid")] = None
    resize_rootfs: Annotated[Switch, Reads("[ucernvm-begin] resize_rootfs")] = None
    use_boothd: Annotated[Switch, Reads("[ucernvm-begin] use_boothd")] = None
    use_glidein: Annotated[Switch, Reads("[ucernvm-begin] useglideinwms")] = None


class Bootloader(Contextualizer[BootloaderOptions]):
    """Unpacks `cernvm_inject` over the system, once, unless µCernVM's bootloader has left its marker."""

    name = "bootloader"
    options = BootloaderOptions
    before = ("scripts_before",)
    frequency = Frequency.ONCE

    def plan(self, options: BootloaderOptions, context: Context, system: System) -> Iterable[Action]:
        """Yield the archive."""
        if options.inject is not None and system.status(_MARKER) is None:
            yield ExtractArchive(path="/", content=options.inject, name="cernvm_inject")
