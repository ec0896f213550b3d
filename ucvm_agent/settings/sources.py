"""Where user-data is looked for, and what belongs to it."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr

from ucvm_agent.settings.kinds import Names, Place, Places, Section, Url


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


class Include(Section):
    """`[include]`: what the user-data includes from elsewhere."""

    http: bool = Field(False, description="take includes over plain http, which anybody on the way may change")
    timeout: float = Field(10.0, gt=0, description="seconds for one URL")
    ca_file: Path | None = Field(None, description="certificates to trust instead of the system's")
