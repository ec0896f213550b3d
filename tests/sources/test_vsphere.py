"""Guestinfo through the real channel's programs (scripts that stand for them), and discs for vSphere."""

from __future__ import annotations

import asyncio
import base64
import gzip
import os
import sys
from pathlib import Path

import pytest

from tests.contextualizers.ask import furnish
from tests.servers.imds import KEY
from tests.servers.seed import SeedServer
from tests.sources.images import make_image
from ucvm_agent.errors import SourceAbsent, SourceRefused, SourceUnavailable
from ucvm_agent.settings import VSphere
from ucvm_agent.sources import guestinfo
from ucvm_agent.sources.base import MAX_BODY, Found
from ucvm_agent.sources.machine import Machine
from ucvm_agent.sources.vsphere import Source

METADATA = f"instance-id: vm-42\nlocal-hostname: worker-1\npublic-keys-data: |\n  {KEY}\n"
OVF = """\
<Environment xmlns="http://schemas.dmtf.org/ovf/environment/1" xmlns:oe="http://schemas.dmtf.org/ovf/environment/1">
  <PropertySection>
    <Property oe:key="instance-id" oe:value="vm-7"/>
    <Property oe:key="hostname" oe:value="worker-7"/>
    <Property oe:key="user-data" oe:value="IyEvYmluL3NoCg=="/>
    <Property oe:key="password" oe:value="secret"/>
  </PropertySection>
</Environment>
"""


WITHOUT = OVF.replace("user-data", "other")


class Host:
    """The host's end of the channel: a folder of values, and programs that print them as VMware's do."""

    def __init__(self, folder: Path) -> None:
        self.values = folder / "values"
        self.programs = folder / "bin"
        self.values.mkdir()
        self.programs.mkdir()

    def set(self, **values: str | bytes) -> None:
        for name, value in values.items():
            content = value.encode() if isinstance(value, str) else value
            (self.values / f"guestinfo.{name.replace('_', '.')}").write_bytes(content)

    def install(self, name: str, *, before: str = "", words: int = 1) -> None:
        program = self.programs / name
        program.write_text(f"""\
#!/bin/sh
echo "$@" >> {self.programs}/asked
{before}
shift {words - 1}
case "$1" in "info-set "*) set -- $1; echo "$3" > "{self.values}/$2"; exit;; esac
key=${{1#info-get }}
if [ -e "{self.values}/$key" ]; then exec cat "{self.values}/$key"; fi
echo "No value found" >&2
exit 1
""")
        program.chmod(0o755)

    @property
    def asked(self) -> list[str]:
        log = self.programs / "asked"
        return log.read_text().splitlines() if log.exists() else []


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    host = Host(tmp_path)
    monkeypatch.setenv("PATH", f"{host.programs}:/usr/bin:/bin")
    return host


def is_running(process: str) -> bool:
    return Path("/proc", process.strip()).exists()


async def fetch(**environment: str) -> Found:
    return await Source(VSphere(), environment).fetch()


@pytest.mark.parametrize(("program", "words"), [("vmware-rpctool", 1), ("vmtoolsd", 2)])
async def test_values_of_guestinfo(host: Host, program: str, words: int) -> None:
    """Either program will do."""
    host.install(program, words=words)
    host.set(metadata=METADATA, userdata="#!/bin/sh\n", vendordata="#cloud-config\n")
    found = await fetch()
    assert (found.source, found.origin) == ("vsphere", "guestinfo")
    assert (found.user_data, found.vendor_data, found.base64) == (b"#!/bin/sh\n", b"#cloud-config\n", False)
    assert (found.metadata.instance_id, found.metadata.hostname) == ("vm-42", "worker-1")
    assert found.metadata.public_keys == (KEY,)
    assert ("--cmd" in host.asked[0]) == (program == "vmtoolsd")


@pytest.mark.parametrize("encoding", ["base64", "b64", "gzip+base64", "gz+b64"])
async def test_encoded_values(host: Host, encoding: str) -> None:
    """User-data goes on as it is, with the word that it is base64; metadata is needed here."""

    def encode(text: str) -> bytes:
        return base64.encodebytes(gzip.compress(text.encode(), mtime=0) if "+" in encoding else text.encode())

    host.install("vmware-rpctool")
    host.set(metadata=encode(METADATA), metadata_encoding=f"{encoding}\n", vendordata=encode("v"))
    host.set(vendordata_encoding=encoding, userdata=encode("data"), userdata_encoding=encoding.upper())
    found = await fetch()
    assert (found.user_data, found.base64) == (encode("data"), True)
    assert (found.vendor_data, found.metadata.instance_id) == (b"v", "vm-42")


@pytest.mark.parametrize("value", ["!", base64.b64encode(gzip.compress(bytes(MAX_BODY + 1), 1)), "H4sI", ""])
async def test_damaged_value_does_not_cost_the_others(host: Host, value: str | bytes) -> None:
    """Nor grow beyond the bound."""
    host.install("vmware-rpctool")
    host.set(metadata=value, metadata_encoding="gz+b64", userdata="data")
    found = await fetch()
    assert found.user_data == b"data"
    assert found.metadata.instance_id


async def test_unset_values_are_none(host: Host) -> None:
    """Nothing, an empty text and `---` are the same."""
    host.install("vmware-rpctool")
    host.set(userdata="---\n", metadata=METADATA, vendordata="")
    found = await fetch()
    assert (found.user_data, found.vendor_data) == (None, None)


async def test_program_that_hangs_is_ended_and_asked_once_more(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the other one is; neither stays behind."""
    monkeypatch.setattr(guestinfo, "TIMEOUT", 1.0)
    host.install("vmware-rpctool", before=f"echo $$ >> {host.programs}/running; exec sleep 600")
    host.install("vmtoolsd", words=2)
    host.set(userdata="data")
    with pytest.raises(SourceUnavailable, match="does not answer"):
        await guestinfo._run(str(host.programs / "vmware-rpctool"), "info-get guestinfo.userdata")
    value = await guestinfo.Guestinfo({}).get("userdata")
    assert value is not None
    assert value.text == b"data"
    assert len([line for line in host.asked if line == "info-get guestinfo.userdata"]) == 3
    running = (host.programs / "running").read_text().split()
    assert not any(is_running(process) for process in running)


async def test_failing_program_is_unavailable(host: Host) -> None:
    """Its complaint is not "No value found", so there may be one."""
    host.install("vmware-rpctool", before="echo 'Failed to open the channel' >&2; exit 1")
    with pytest.raises(SourceUnavailable, match="exit code 1"):
        await fetch()


async def test_cancellation_ends_the_program(host: Host) -> None:
    """At once."""
    os.mkfifo(host.programs / "running")
    host.install("vmware-rpctool", before=f"echo $$ > {host.programs}/running; exec sleep 600")
    fetching = asyncio.create_task(fetch())
    async with asyncio.timeout(20):
        process = await asyncio.to_thread((host.programs / "running").read_text)
        fetching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await fetching
    assert not is_running(process)


async def test_environment_of_a_container() -> None:
    """Without any program."""
    found = await fetch(VMX_GUESTINFO_USERDATA="ZGF0YQ==", **{"VMX_GUESTINFO_USERDATA.ENCODING": "base64"})
    assert (found.user_data, found.base64, found.vendor_data) == (b"ZGF0YQ==", True, None)


async def test_environment_of_ovf(host: Host) -> None:
    """Where no other key is set."""
    host.install("vmware-rpctool")
    host.set(ovfEnv=OVF)
    found = await fetch()
    assert (found.user_data, found.base64) == (b"IyEvYmluL3NoCg==", True)
    assert (found.metadata.instance_id, found.metadata.hostname) == ("vm-7", "worker-7")
    assert "secret" not in repr(found)


@pytest.mark.parametrize(("program", "words"), [("vmware-rpctool", 1), ("vmtoolsd", 2)])
async def test_values_that_are_to_be_blanked(host: Host, program: str, words: int) -> None:
    """Only those that are there and are ours to blank; asking for them blanks nothing."""
    host.install(program, words=words)
    host.set(metadata=f"{METADATA}cleanup-guestinfo: [userdata, vendordata, ovfEnv]\n", userdata="data", ovfEnv=OVF)
    found = await fetch()
    assert (found.to_blank, found.spent, found.user_data) == (("userdata",), False, b"data")
    assert not any("info-set" in line for line in host.asked)
    await Source(VSphere(), {}).blank(found.to_blank)
    again = await fetch()
    assert (again.user_data, again.spent, again.metadata) == (None, True, found.metadata)
    await Source(VSphere(), {}).blank(["metadata"])
    assert await fetch() == Found("vsphere", "guestinfo", None)
    assert (await fetch()).spent


async def test_values_are_blanked_only_once_they_are_kept(host: Host, tmp_path: Path) -> None:
    """A dry run leaves them, and the next boot goes by what was kept."""
    host.install("vmware-rpctool")
    user_data = "#cloud-config\nwrite_files: [{path: /srv/note, content: note}]\n"
    host.set(metadata="cleanup-guestinfo: [userdata, metadata]\n", userdata=user_data)
    root = furnish(tmp_path / "root", {"/etc/passwd": "root:x:0:0::/:\n", "/etc/group": "root:x:0:\n"}).root
    for command, text in (("--dry-run", user_data), ("apply", "---\n"), ("apply", "---\n")):
        words = [sys.executable, "-m", "ucvm_agent", command, "--root", str(root), "--source", "vsphere"]
        process = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
        printed, _ = await process.communicate()
        assert process.returncode == 0
        assert b"write_files" in printed
        assert (host.values / "guestinfo.userdata").read_text() == text


async def test_seed_that_an_environment_names(host: Host, tmp_path: Path) -> None:
    """It says what the environment does not; plain HTTP has to be allowed."""
    seed = {"user-data": b"seed", "meta-data": b"instance-id: seed\navailability-zone: z", "vendor-data": b"vendor"}
    async with SeedServer(seed) as server:
        for user_data, expected in ((OVF, (b"IyEvYmluL3NoCg==", True)), (WITHOUT, (b"seed", False))):
            named = user_data.replace(
                "<PropertySection>",
                f"""<PropertySection>
    <Property oe:key="seedfrom" oe:value="{server.url}"/>""",
            )
            image = make_image(tmp_path / expected[0].decode()[:4], {"ovf-env.xml": named.encode()})
            with pytest.raises(SourceRefused, match="forged"):
                await Source(VSphere(device=str(image))).fetch()
            found = await Source(VSphere(device=str(image), allow_insecure_seed=True)).fetch()
            assert (found.user_data, found.base64) == expected
            assert (found.metadata.instance_id, found.metadata.zone, found.vendor_data) == ("vm-7", "z", b"vendor")
            assert found.origin == f"{image} and {server.url}"


async def test_discs(tmp_path: Path) -> None:
    """That of the bootloader of µCernVM, that of OVF, and others that are none."""
    plain = make_image(tmp_path / "plain", {"user-data.txt": b"data"})
    ovf = make_image(tmp_path / "ovf", {"ovf-env.xml": OVF.encode()})
    other = make_image(tmp_path / "other", {"ovf-env.xml": b"<x/>"})
    assert (await Source(VSphere(device=str(plain))).fetch()).user_data == b"data"
    assert (await Source(VSphere(device=str(ovf))).fetch()).metadata.hostname == "worker-7"
    with pytest.raises(SourceAbsent):
        await Source(VSphere(device=str(other))).fetch()


async def test_machine_of_another_make(host: Host) -> None:
    """There is nothing to ask the host with, and no disc."""
    with pytest.raises(SourceAbsent, match="open-vm-tools"):
        await fetch()
    source = Source(VSphere(), {})
    assert source.candidate(Machine(dmi={"sys_vendor": "VMware, Inc."})).likely is True
    assert source.candidate(Machine(dmi={"product_name": "VMware7,1"})).likely is True
    assert source.candidate(Machine()).likely is False
