"""The settings of the agent: each is declared once in this room, with its type, default and meaning.

One module has a group of tables; here is what they are together. `layers.py` reads them from the settings file, the
environment, the kernel command line and the options, `render.py` shows them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, DirectoryPath, Field
from pydantic.fields import FieldInfo

from ucvm_agent.settings.controllers import Http, Monitoring, Operators, Xmpp, XmppAccount
from ucvm_agent.settings.jobs import Jobs, Secure, Transfer
from ucvm_agent.settings.kinds import Names, Section, Url
from ucvm_agent.settings.machine import Boot, Cluster, Contextualize, Log
from ucvm_agent.settings.sources import (
    Azure,
    Bootloader,
    CernvmOnline,
    CloudStack,
    ConfigDrive,
    Ec2,
    Extra,
    File,
    Gce,
    Include,
    NoCloud,
    OpenNebula,
    OpenStack,
    Sources,
    Volume,
    VSphere,
)

__all__ = [
    "CONTEXT_FILE",
    "CONTEXT_TABLES",
    "CREDENTIALS",
    "Azure",
    "Boot",
    "Bootloader",
    "CernvmOnline",
    "CloudStack",
    "Cluster",
    "ConfigDrive",
    "Contextualize",
    "Ec2",
    "Extra",
    "File",
    "Gce",
    "Http",
    "Include",
    "Jobs",
    "Log",
    "Monitoring",
    "Names",
    "NoCloud",
    "OpenNebula",
    "OpenStack",
    "Operators",
    "Section",
    "Secure",
    "Settings",
    "Sources",
    "Transfer",
    "Url",
    "VSphere",
    "Volume",
    "Xmpp",
    "XmppAccount",
    "leaves",
]


class Settings(Section):
    """All settings."""

    root: Annotated[DirectoryPath, AfterValidator(Path.absolute)] = Field(
        Path("/"), description="directory that is treated as /"
    )
    state_dir: Path = Field(Path("/var/lib/ucvm-agent"), description="folder of the state, beneath the root")
    stop_timeout: float = Field(30.0, gt=0, description="seconds that running actions get at a stop")
    log: Log = Log.model_construct()
    sources: Sources = Sources.model_construct()
    include: Include = Include.model_construct()
    contextualize: Contextualize = Contextualize.model_construct()
    cluster: Cluster = Cluster.model_construct()
    xmpp: Xmpp = Xmpp.model_construct()
    http: Http = Http.model_construct()
    jobs: Jobs = Jobs.model_construct()
    transfer: Transfer = Transfer.model_construct()
    monitoring: Monitoring = Monitoring.model_construct()
    operators: Operators = Operators.model_construct()
    boot: Boot = Boot.model_construct()

    @property
    def insecure(self) -> tuple[str, ...]:
        """The settings that let somebody on the way forge what this machine is told."""
        weak = {
            "xmpp.verify = false": bool(self.xmpp.jid) and not self.xmpp.verify,
            "http.verify = false": bool(self.http.url) and not self.http.verify,
            "sources.cernvm_online.insecure = true": self.sources.cernvm_online.insecure,
            "sources.nocloud.allow_insecure_seed = true": self.sources.nocloud.allow_insecure_seed,
            "sources.vsphere.allow_insecure_seed = true": self.sources.vsphere.allow_insecure_seed,
            "cluster.insecure = true": self.cluster.insecure,
            "include.http = true": self.include.http,
        }
        return tuple(setting for setting, is_weak in weak.items() if is_weak)


CONTEXT_FILE = "/etc/ucvm-agent/context.toml"
"""The settings that the user-data gives, beneath the root; `layers.py` reads them, an action writes them."""

CONTEXT_TABLES = ("xmpp", "http", "jobs", "transfer")
"""What user-data may set: with whom the machine speaks and what it works once it is contextualized.

All else decides how user-data are found and used: a context that changed it would change what it is itself, lose the
state, or keep the next one away.
"""

CREDENTIALS = {"xmpp": ("jid", "password", "password_file"), "http": ("url", "token", "token_file")}
"""For each table with an address: the address, and the secrets that are meant for nobody else."""


def leaves(
    model: type[BaseModel] = Settings, above: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], FieldInfo]]:
    """Yield each setting's path (`("xmpp", "jid")`) and declaration, in the order in which they are declared."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            yield from leaves(kind, (*above, name))
        else:
            yield (*above, name), field
