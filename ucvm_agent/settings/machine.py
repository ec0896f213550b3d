"""How the machine is made what its context says, and what is logged of that."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from ucvm_agent.settings.kinds import Names, Section, Url


class Log(Section):
    """`[log]`: what is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "text"] = Field(
        "auto", description="auto: colour and alignment on a terminal, JSON elsewhere"
    )
    file: Path | None = Field(None, description="append here instead of standard error")


class Contextualize(Section):
    """`[contextualize]`: what is done with the context."""

    disabled: Names = Field((), description="contextualizers that are left out")
    dropins: str = Field(
        "/etc/ucvm-agent/contextualizers.d", description="folder of executables that are contextualizers"
    )
    parallel: int = Field(8, ge=1, description="most actions at the same time")


class Cluster(Section):
    """`[cluster]`: the PIN service through which the machines of a cluster find each other."""

    service_url: Url = Field(
        "https://cernvm-online.cern.ch", description="the service, unless the context names another"
    )
    pause: float = Field(25.0, gt=0, description="seconds between two questions of a machine that waits")
    jitter: float = Field(9.0, ge=0, description="most seconds that are added to a pause by chance")
    deadline: float = Field(1500.0, gt=0, description="seconds until a machine goes on without its cluster")
    ca_file: Path | None = Field(None, description="certificates to trust instead of the system's")
    insecure: bool = Field(False, description="true allows a service of http, to which whoever is in between may write")


class Boot(Section):
    """`[boot]`: of what the initial RAM disk makes the root; only the kernel command line can set it in time."""

    layer: str = Field(
        "cvmfs:cernvm-prod.cern.ch",
        description="read-only layer: cvmfs:REPOSITORY, or squashfs:, erofs: or dir: with a device or LABEL=NAME/PATH",
    )
    device_timeout: float = Field(30.0, gt=0, description="seconds that the device of the layer may take to appear")
    deadline: float = Field(30.0, gt=0, description="seconds to look for user-data before the root is made without")
