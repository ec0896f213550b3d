"""The configuration of the CernVM-FS client.

It is read from three dialects: `cvmfs:` in cloud-config, `[cernvm]` of amiconfig, and the settings in
`[ucernvm-begin]` that the bootloader hands on to the operating system (references/ucernvm-boot.md, section 3):

    cvmfs:
      repositories: [sft, atlas.cern.ch]
      http_proxy: http://squid.example.org:3128;DIRECT
      pac_urls: http://wpad.example.org/wpad.dat
      server_url: http://cvmfs.example.org/cvmfs/@fqrn@
      quota_limit: 20000                  # MB
      cms_site: T0_CH_CERN                # CMS_LOCAL_SITE; also said by glideinWMS pilots
      config: {CVMFS_USE_GEOAPI: "no"}    # any other setting
      extra_repositories:
        - {name: data.example.org, server_url: http://cvmfs.example.org/cvmfs/@fqrn@, public_key: …}
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Iterator
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from contextualizers.assignments import Plain, Variable, add_block, assign, outside_block
from contextualizers.encoded import decode_base64
from ucvm_agent.contextualize.actions import RunCommand, WriteFile
from ucvm_agent.contextualize.base import Action, Context, Contextualizer, Nested, Options, Reads, System, split_commas

LOCAL = "/etc/cvmfs/default.local"
AUTOMATIC_PROXY = "auto;DIRECT"
PAC_URLS = ";".join(
    f"http://{host}/wpad.dat" for host in ("grid-wpad", "wpad", "wlcg-wpad.cern.ch", "wlcg-wpad.fnal.gov")
)
"""What CernVM uses where no proxy is given, WLCG's servers last (references/amiconfig.md, section 8)."""

_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*")


def _repository(name: str) -> str:
    """Return the full name of a repository: `sft` is short for `sft.cern.ch`."""
    if not _REPOSITORY.fullmatch(name):
        raise ValueError(f"expected the name of a repository such as sft.cern.ch, not {name!r}")
    return name if "." in name else f"{name}.cern.ch"


def _pem(text: str) -> str:
    """Return a public key as PEM text, given as such or as base64 of the PEM text or of its bytes."""
    value = text.strip()
    try:
        if "BEGIN" not in value:
            data = decode_base64(value)
            value = data.decode() if b"BEGIN" in data else _as_pem(data)
        lines = value.strip().splitlines()
        if lines[0] != "-----BEGIN PUBLIC KEY-----" or lines[-1] != "-----END PUBLIC KEY-----":
            raise ValueError
        # 0x30: a public key is an ASN.1 sequence.
        if decode_base64("".join(lines[1:-1]))[:1] != b"\x30":
            raise ValueError
    except (ValueError, IndexError):
        raise ValueError("expected a public key in PEM format, or base64 of it") from None
    return "".join(f"{line.strip()}\n" for line in lines)


def _as_pem(data: bytes) -> str:
    text = b64encode(data).decode()
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    return "\n".join(["-----BEGIN PUBLIC KEY-----", *lines, "-----END PUBLIC KEY-----"])


def _names(value: object) -> object:
    return split_commas(value.strip("\"'") if isinstance(value, str) else value)


RepositoryName = Annotated[str, AfterValidator(_repository)]
RepositoryNames = Annotated[tuple[RepositoryName, ...], BeforeValidator(_names)]


class ExtraRepository(Nested):
    """A repository that the distribution's configuration does not know."""

    name: RepositoryName
    server_url: Plain
    public_key: Annotated[str, AfterValidator(_pem)] = Field(repr=False)


def _yes_or_no(value: object) -> object:
    """Take back what YAML made of an unquoted `yes` or `no`."""
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else value


def _triple(value: object) -> object:
    """Take `name|server|key` of `[cernvm] extra_repositories` apart (references/amiconfig.md, section 8)."""
    if not isinstance(value, str):
        return value
    name, server, key = [*value.split("|"), "", ""][:3]
    if value.count("|") != 2:
        raise ValueError("expected name|server|key")
    base = server if "://" in server else f"http://{server}"
    return {"name": name, "server_url": f"{base}/cvmfs/{_repository(name)}", "public_key": key}


class CVMFSOptions(Options):
    """What is read, see the module's docstring."""

    repositories: Annotated[RepositoryNames, Reads("cvmfs.repositories", "[cernvm] repositories")] = ()
    http_proxy: Annotated[Plain, Reads("cvmfs.http_proxy", "[cernvm] proxy", "[ucernvm-begin] cvmfs_http_proxy")] = ""
    pac_urls: Annotated[Plain, Reads("cvmfs.pac_urls", "[ucernvm-begin] cvmfs_pac_urls")] = ""
    server_url: Annotated[Plain, Reads("cvmfs.server_url")] = ""
    quota_limit: Annotated[int | None, Reads("cvmfs.quota_limit")] = Field(None, ge=-1)
    config: Annotated[dict[Variable, Annotated[Plain, BeforeValidator(_yes_or_no)]], Reads("cvmfs.config")] = Field(
        default_factory=dict
    )
    cms_site: Annotated[Plain, Reads("cvmfs.cms_site", "[glideinwms] cms_site")] = ""
    entitlement_key: Annotated[SecretStr | None, Reads("[cernvm] entitlement_key")] = None
    extra_repositories: Annotated[
        tuple[Annotated[ExtraRepository, BeforeValidator(_triple)], ...],
        BeforeValidator(_names),
        Reads("cvmfs.extra_repositories", "[cernvm] extra_repositories"),
    ] = ()


class CVMFS(Contextualizer[CVMFSOptions]):
    """Keeps the settings in a block of `default.local`, writes a file for each extra repository, reloads the client.

    The block goes to the end of `default.local`, since scripts of a context write to that file as well (and a
    shell takes the last one); those of another context replace it. Without a proxy of its own, a context with
    repositories gets CernVM's automatic one.
    """

    name = "cvmfs"
    options = CVMFSOptions

    def plan(self, options: CVMFSOptions, context: Context, system: System) -> Iterable[Action]:
        """Yield the files, and the reload."""
        files = [*_repository_files(options.extra_repositories), *_local(options, system)]
        yield from files
        if files and system.live and system.program("cvmfs_config"):
            yield RunCommand(argv=("cvmfs_config", "reload"), timeout=300.0, because=tuple(file.path for file in files))


def _repository_files(repositories: Iterable[ExtraRepository]) -> Iterator[WriteFile]:
    for repository in repositories:
        key = f"/etc/cvmfs/keys/{repository.name}.pub"
        yield WriteFile(path=key, content=repository.public_key.encode())
        text = assign([("CVMFS_SERVER_URL", repository.server_url), ("CVMFS_PUBLIC_KEY", key)])
        yield WriteFile(path=f"/etc/cvmfs/config.d/{repository.name}.conf", content=text.encode())


def _local(options: CVMFSOptions, system: System) -> Iterator[WriteFile]:
    settings = dict(_settings(options, system))
    secret = options.entitlement_key is not None
    yield from add_block(system, LOCAL, "cvmfs", assign(settings.items()), sensitive=secret)


def _settings(options: CVMFSOptions, system: System) -> Iterator[tuple[str, str]]:
    repositories = dict.fromkeys([*options.repositories, *(each.name for each in options.extra_repositories)])
    if repositories:
        yield "CVMFS_REPOSITORIES", ",".join(repositories)
    if options.http_proxy:
        yield "CVMFS_HTTP_PROXY", options.http_proxy
    elif repositories and not _has_proxy(options, system):
        yield "CVMFS_HTTP_PROXY", AUTOMATIC_PROXY
    if options.pac_urls:
        yield "CVMFS_PAC_URLS", options.pac_urls
    elif repositories and not options.http_proxy and not _has_proxy(options, system):
        yield "CVMFS_PAC_URLS", PAC_URLS
    if options.server_url:
        yield "CVMFS_SERVER_URL", options.server_url
    if options.quota_limit is not None:
        yield "CVMFS_QUOTA_LIMIT", str(options.quota_limit)
    if options.cms_site:
        yield "CMS_LOCAL_SITE", options.cms_site
    if options.entitlement_key is not None:
        yield "CVMFS_ENTITLEMENT_KEY", options.entitlement_key.get_secret_value()
    yield from options.config.items()


def _has_proxy(options: CVMFSOptions, system: System) -> bool:
    """Say whether the system or the context sets a proxy without `http_proxy`."""
    there = outside_block(system.read(LOCAL) or b"", "cvmfs")
    return "CVMFS_HTTP_PROXY" in options.config or b"CVMFS_HTTP_PROXY=" in there
