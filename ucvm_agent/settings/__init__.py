"""The settings of the agent: each is declared once here, with its type, default and meaning.

`layers.py` reads them from the settings file, the environment, the kernel command line and the options.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, DirectoryPath, Field, SecretStr
from pydantic.fields import FieldInfo


def _split_commas(value: object) -> object:
    return [item.strip() for item in value.split(",") if item.strip()] if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_split_commas)]
"""A list; the environment and the kernel command line write it as `a,b,c`."""


def _parts(text: str) -> SplitResult:
    """Split a URL that may be shown and logged; the errors quote nothing of it."""
    try:
        parts = urlsplit(text)
    except ValueError:
        raise ValueError("is not a URL") from None
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError(
            "may hold no credentials and no query, since it is shown (a token for [http] goes into http.token_file)"
        )
    return parts


def _url(text: str) -> str:
    if text:
        parts = _parts(text)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("is not a URL of http or https")
    return text


def _place(text: str) -> str:
    if "://" in text:
        _parts(text)
    return text


def _address(text: str) -> str:
    """Return a JID, or what slixmpp may still refuse as one; loading that for a dry run would take too long."""
    if text and not re.fullmatch(r"""([^\s"&'/:<>@]+@)?[^\s@/]+(/.+)?""", text):
        raise ValueError("is not a JID: write it as user@domain")
    return text


def _account(text: str) -> str:
    if text and "@" not in _address(text).partition("/")[0]:
        raise ValueError("is not an account's JID: write it as user@domain")
    return text


Address = Annotated[str, AfterValidator(_address)]
"""A JID: of an account, a component, or a resource of one."""

Url = Annotated[str, AfterValidator(_url)]
"""A URL of http or https that may be shown: without credentials and query; empty where that means something."""
Place = Annotated[str, AfterValidator(_place)]
"""A host, a path, or a URL that may be shown."""
Places = Annotated[tuple[Place, ...], BeforeValidator(_split_commas)]
"""A list of them, written as `Names`."""


def _signing_keys(keys: tuple[str, ...]) -> tuple[str, ...]:
    for key in keys:
        try:
            if len(b64decode(key, validate=True)) != SIGNING_KEY_BYTES:
                raise ValueError
        except ValueError:
            raise ValueError(f"{key} is not the base64 of a public key of Ed25519") from None
    return keys


SIGNING_KEY_BYTES = 32
"""Of a public key of Ed25519."""

SigningKeys = Annotated[Names, AfterValidator(_signing_keys)]
"""Public keys of Ed25519, the base64 of each."""


class Section(BaseModel):
    """A table of the settings file.

    A table that is not given is made by `model_construct`: calling it would build a validator for each alone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class Log(Section):
    """`[log]`: what is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "text"] = Field(
        "auto", description="auto: colour and alignment on a terminal, JSON elsewhere"
    )
    file: Path | None = Field(None, description="append here instead of standard error")


class Ec2(Section):
    """`[sources.ec2]`: the EC2 metadata service."""

    endpoints: Places = Field(("http://169.254.169.254", "http://[fd00:ec2::254]"), description="tried in this order")
    require_imdsv2: bool = Field(False, description="never fall back to requests without a token")
    token_ttl: int = Field(21600, ge=1, le=21600, description="seconds that a token is asked for")


class OpenStack(Section):
    """`[sources.openstack]`: the metadata service of OpenStack."""

    endpoints: Places = Field(
        ("http://169.254.169.254", "http://[fe80::a9fe:a9fe%25IFACE]"),
        description="asked at the same time; IFACE stands for each interface",
    )


class Gce(Section):
    """`[sources.gce]`: the metadata server of Google Compute Engine."""

    endpoints: Places = Field(("http://169.254.169.254", "http://[fd20:ce::254]"), description="asked at the same time")


class CloudStack(Section):
    """`[sources.cloudstack]`: the virtual router of CloudStack."""

    routers: Places = Field(
        (), description="host names, addresses or URLs; without them: data-server, DHCP server, gateway, 10.1.1.1"
    )


class File(Section):
    """`[sources.file]`: user-data in a local file."""

    path: str = Field("", description="the file, or - for standard input")


class Volume(Section):
    """The settings of a source that reads a volume: `[sources.configdrive]`, `[sources.opennebula]`, …"""

    device: str = Field("", description="image or block device to read, instead of looking for the volume")


class Azure(Volume):
    """`[sources.azure]`: Azure's provisioning medium and its metadata service."""

    endpoint: Url = Field("http://169.254.169.254", description="of the metadata service, without a path")


class ConfigDrive(Volume):
    """`[sources.configdrive]`: a volume with the label `config-2`, or with the tree of OpenStack."""


class NoCloud(Volume):
    """`[sources.nocloud]`: a volume with the label `cidata`, a seed folder or a seed URL."""

    seed: Place = Field("", description="folder or URL of the seed, where neither kernel nor firmware name one")
    allow_insecure_seed: bool = Field(False, description="take a seed over plain HTTP, which anybody can forge")


class OpenNebula(Volume):
    """`[sources.opennebula]`: a volume with `context.sh`."""


class VSphere(Volume):
    """`[sources.vsphere]`: guestinfo, or a volume with `user-data.txt`."""

    allow_insecure_seed: bool = Field(False, description="take a seed over plain HTTP, which anybody can forge")


class Extra(Volume):
    """`[sources.extra]`: what is added to the user-data of another source."""


class Bootloader(Section):
    """`[sources.bootloader]`: what the bootloader of µCernVM has left."""

    context: str = Field("/mnt/.rw/context", description="the bootloader's context folder")
    extra: str = Field("/cernvm/extra-user-data", description="its copy of the extra user-data")


class CernvmOnline(Section):
    """`[sources.cernvm_online]`: contexts of CernVM Online, paired by `ucvm-agent pair` or named here."""

    url: Url = Field("https://cernvm-online.cern.ch", description="the service")
    key: SecretStr = Field(SecretStr(""), description="context to fetch: ID, or ID:SECRET if it is encrypted")
    key_file: Path | None = Field(None, description="file with the key, instead of `key`")
    ca_file: Path | None = Field(None, description="certificates to trust instead of the system's")
    insecure: bool = Field(False, description="true allows a URL of http, which gives contexts to whoever listens")


class Sources(Section):
    """`[sources]`: where user-data is looked for."""

    names: Names = Field(("auto",), description="sources to ask, best first; auto = those that the machine tells of")
    deadline: float = Field(120.0, gt=0, description="seconds until the VM comes up without user-data")
    search_pause: float = Field(60.0, gt=0, description="seconds between searches once it is up without user-data")
    follow: float = Field(
        300.0, ge=0, description="seconds between questions for other user-data once it is up; 0 = changes do not count"
    )
    ec2: Ec2 = Ec2.model_construct()
    openstack: OpenStack = OpenStack.model_construct()
    gce: Gce = Gce.model_construct()
    azure: Azure = Azure.model_construct()
    cloudstack: CloudStack = CloudStack.model_construct()
    file: File = File.model_construct()
    bootloader: Bootloader = Bootloader.model_construct()
    configdrive: ConfigDrive = ConfigDrive.model_construct()
    extra: Extra = Extra.model_construct()
    nocloud: NoCloud = NoCloud.model_construct()
    opennebula: OpenNebula = OpenNebula.model_construct()
    vsphere: VSphere = VSphere.model_construct()
    cernvm_online: CernvmOnline = CernvmOnline.model_construct()


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


class Include(Section):
    """`[include]`: what the user-data includes from elsewhere."""

    http: bool = Field(False, description="take includes over plain http, which anybody on the way may change")
    timeout: float = Field(10.0, gt=0, description="seconds for one URL")
    ca_file: Path | None = Field(None, description="certificates to trust instead of the system's")


class Contextualize(Section):
    """`[contextualize]`: what is done with the context."""

    disabled: Names = Field((), description="contextualizers that are left out")
    dropins: str = Field(
        "/etc/ucvm-agent/contextualizers.d", description="folder of executables that are contextualizers"
    )
    parallel: int = Field(8, ge=1, description="most actions at the same time")


class Xmpp(Section):
    """`[xmpp]`: the connection to the controllers' XMPP server; off without a JID."""

    jid: Annotated[str, AfterValidator(_account)] = ""
    password: SecretStr = SecretStr("")
    password_file: Path | None = Field(None, description="file with the password, instead of `password`")
    host: str = Field("", description="server address, if DNS does not say it")
    port: int = Field(5222, ge=1, le=65535)
    ca_file: Path | None = Field(None, description="certificates to trust instead of the system's")
    verify: bool = Field(True, description="false accepts any certificate, and says so in `status`")
    controllers: Annotated[tuple[Address, ...], BeforeValidator(_split_commas)] = Field(
        (), description="JIDs that get every event"
    )
    signatures: Literal["pin", "required", "off"] = Field(
        "pin",
        description="pin: a controller that has signed once must sign; required: all must; off: nobody need",
    )
    controller_keys: SigningKeys = Field(
        (), description="public keys by which controllers sign; without them the first that one shows is pinned"
    )
    receipts: bool = Field(True, description="an event counts as delivered when its controller, not its server, has it")


class Http(Section):
    """`[http]`: a controller that takes events by POST; off without a URL."""

    url: Url = ""
    token: SecretStr = SecretStr("")
    token_file: Path | None = Field(None, description="file with the bearer token, instead of `token`")
    ca_file: Path | None = Field(None, description="certificates to trust instead of the system's")
    verify: bool = Field(True, description="false accepts any certificate, and says so in `status`")


class Secure(Section):
    """`[jobs.secure]`: the encryption of original Co-Pilot job managers; old: TLS and signatures are better."""

    public_keys_file: Path | None = Field(
        None, description="file of public keys by JID, as the original has it; encrypts all that is said of jobs"
    )
    key_manager: str = Field("", description="JID of who gives tickets; empty = there is none")
    credential: SecretStr = Field(SecretStr(""), description="what the key manager wants to see")


class Jobs(Section):
    """`[jobs]`: the jobs of Co-Pilot, and how each of them runs by itself; a limit of 0 is none."""

    enabled: bool = Field(False, description="ask xmpp.controllers for jobs and run them")
    slots: int = Field(0, ge=0, description="jobs at the same time; 0 = one for each core")
    when_degraded: bool = Field(False, description="take jobs although the machine is not all that it has to be")
    at_stop: Literal["leave", "give-back"] = Field(
        "leave",
        description="of a job, when the agent stops: leave = the next start goes on with it; give-back = it is ended,"
        " as it always is when the machine shuts down, and its manager is told",
    )
    retry_seconds: float = Field(60.0, gt=0, description="from a question to the next; twice as long each time, …")
    retry_limit_seconds: float = Field(1920.0, gt=0, description="… up to this; then it begins anew")
    pause_seconds: float = Field(
        60.0, ge=0, description="least time between two questions, which original managers want"
    )
    answer_seconds: float = Field(60.0, gt=0, description="for a job, once a manager has offered it")
    output_answer_seconds: float = Field(
        10.0, gt=0, description="for the place of output, once a manager has offered it"
    )
    renewal_seconds: float = Field(60.0, gt=0, description="between two messages that a job is alive")
    sleep_seconds: float = Field(1200.0, ge=0, description="longest silence when a manager wants one")
    reboot_on_sleep: bool = Field(
        False, description="restart the machine after such a silence, as the original agent did"
    )
    require_prefixes: Names = Field(("/cvmfs/",), description="folders in which managers may demand files")
    min_free_bytes: int = Field(2**30, ge=0, description="free space below which no more jobs are taken; 0 = any")
    user: str = Field("ucvm-job", description="account of the jobs, if the agent is root; else they have its own")
    work_dir: Path = Field(
        Path("/var/lib/ucvm-jobs"), description="their folders, beneath the root; any user may pass through it"
    )
    wall_limit: float = Field(86400.0, ge=0, description="seconds for a job, and again for its validation")
    memory_limit: int = Field(4 * 1024**3, ge=0, description="bytes of memory of all processes of a job")
    cpus: float = Field(1.0, ge=0, description="processors that a job may keep busy, where there are cgroups")
    processes: int = Field(512, ge=0, description="processes and threads of a job")
    disk_limit: int = Field(20 * 1024**3, ge=0, description="bytes in the folder of a job")
    output_limit: int = Field(64 * 1024**2, ge=1, description="bytes that are kept of each of stdout and stderr")
    archive_limit: int = Field(2 * 1024**3, ge=1, description="bytes of the files that go into a job's archive")
    secure: Secure = Secure()


def _tokens(items: tuple[str, ...]) -> tuple[str, ...]:
    if not all(host and file.startswith("/") for host, _, file in (item.partition("=") for item in items)):
        raise ValueError("is not a list of HOST=/FILE")
    return items


class Transfer(Section):
    """`[transfer]`: how the files of jobs are moved."""

    timeout: float = Field(1800.0, gt=0, description="seconds for one try of one file")
    deadline: float = Field(7200.0, gt=0, description="seconds in which a file is tried again, after passing faults")
    max_bytes: int = Field(10 * 2**30, ge=0, description="most bytes of one file")
    chirp_auth: Literal["address", "hostname", "unix"] = Field("address", description="how Chirp servers know us")
    s3_endpoint: Url = Field("", description="of a store that is not Amazon's")
    token_files: Annotated[Names, AfterValidator(_tokens)] = Field(
        (), description="HOST=/FILE with the bearer token that is sent to that host, by https only"
    )
    file_roots: Names = Field((), description="folders in which file:///… may name files; without them: none")
    ca_file: Path | None = Field(None, description="certificates to trust instead of the system's")


class Monitoring(Section):
    """`[monitoring]`: the figures of the machine: load, disks, memory, network, processes."""

    room: str = Field("", description="chat room of the site's heartbeat, as ROOM@SERVER; without it: none is entered")
    room_answers: bool = Field(True, description="tell everybody in that room who asks how this machine is")
    monitor: str = Field("", description="JID of a Co-Pilot monitor that gets the figures; without it: none")
    interval: float = Field(60.0, ge=0, description="seconds from one report to that monitor to the next; 0 = none")
    port: int = Field(
        0, ge=0, le=65535, description="port of 127.0.0.1 where the figures are to be had as OpenMetrics; 0 = none"
    )


class Operators(Section):
    """`[operators]`: people who look after this machine from any XMPP client, by its commands or in a chat."""

    enabled: bool = Field(True, description="obey operators")
    jids: Names = Field(
        (), description="their accounts; without them, those of xmpp.controllers that need not sign what they say"
    )
    allow_shutdown: bool = Field(False, description="they may shut the machine down")


class Boot(Section):
    """`[boot]`: of what the initial RAM disk makes the root; only the kernel command line can set it in time."""

    layer: str = Field(
        "cvmfs:cernvm-prod.cern.ch",
        description="read-only layer: cvmfs:REPOSITORY, or squashfs:, erofs: or dir: with a device or LABEL=NAME/PATH",
    )
    device_timeout: float = Field(30.0, gt=0, description="seconds that the device of the layer may take to appear")
    deadline: float = Field(30.0, gt=0, description="seconds to look for user-data before the root is made without")


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
    """Yield each setting's path (`("xmpp", "jid")`) and declaration, in the order of this file."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            yield from leaves(kind, (*above, name))
        else:
            yield (*above, name), field
