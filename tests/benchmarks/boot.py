"""What contextualization costs a boot: the same machine without the agent, with it, and with cloud-init instead.

    python -m tests.benchmarks.boot

Each is started twice, taking turns, in QEMU without acceleration, with the same user-data from the same metadata
service; the better of both counts. Exit code 1 if the agent takes more than twice a plain boot until it is done.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.benchmarks.installation import REPOSITORY
from tests.servers.imds import Imds
from tests.system.machine import EC2, Hardware, Machine, make_disk

TURNS = 2
BOUND = 2.0
"""Of the time to the login prompt of a plain boot."""
CONTEXT = b"""\
#cloud-config
users: [{name: alice}]
write_files: [{path: /srv/told, content: by the context}]
runcmd: [echo told > /srv/ran]
"""
IDENTITY = '{"instanceId": "i-0123456789abcdef0", "region": "eu-west-1", "availabilityZone": "eu-west-1a"}'
VARIANTS = {
    "plain": ("agent", "ucvm=off", r"login:"),
    "agent": ("agent", "", r"ucvm-agent\[\d+\]: ready since"),
    "cloud-init": ("cloud-init", "ucvm=off ci.ds=Ec2", r"Cloud-init v\. \S+ finished"),
}
"""What is in the image, the kernel's parameters, and what the console says at the end."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One boot, in seconds and in MB."""

    login: float
    done: float
    processor: float
    memory: float
    read: float


def build(content: str) -> Path:
    """Return the folder of the image with the agent, or with cloud-init instead."""
    environment = {**os.environ, "UCVM_IMAGE": content}
    script = REPOSITORY / "deploy/image/build.sh"
    built = subprocess.run([script], env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return Path(built.stdout.splitlines()[-1])


async def boot(image: Path, parameters: str, done: str) -> Measured:
    """Start a machine, and return what it took until it was done."""
    with tempfile.TemporaryDirectory() as folder:
        async with Imds(CONTEXT, document=IDENTITY, require_token=False) as imds:
            hardware = Hardware(
                image=image,
                disks=(make_disk(Path(folder) / "scratch.img"),),
                firmware=(EC2,),
                services={"169.254.169.254:80": urlsplit(imds.url).port or 80},
                parameters=parameters,
            )
            started = time.monotonic()
            async with Machine(Path(folder), hardware) as machine:
                times = await asyncio.gather(_after(machine, r"login:", started), _after(machine, done, started))
                read = await machine.read_bytes() / 1e6
                return Measured(*times, *await asyncio.to_thread(_taken, machine.pid), read)


def _taken(pid: int) -> tuple[float, float]:
    """Return the seconds of processor time and the most MB that a process has taken."""
    process = Path("/proc") / str(pid)
    ticks = (process / "stat").read_text().rpartition(")")[2].split()[11:13]
    memory = int((process / "status").read_text().partition("VmHWM:")[2].split()[0])
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK"), memory / 1000


async def _after(machine: Machine, pattern: str, started: float) -> float:
    await machine.until(pattern, seconds=900)
    return time.monotonic() - started


async def main() -> int:
    """Measure all, taking turns, and print a table."""
    best: dict[str, Measured] = {}
    images = {content: build(content) for content, _, _ in VARIANTS.values()}
    for _ in range(TURNS):
        for name, (content, parameters, done) in VARIANTS.items():
            measured = await boot(images[content], parameters, done)
            best[name] = min(best.get(name, measured), measured, key=lambda each: each.processor)
    print("| boot | login prompt, s | done, s | processor, s | peak memory, MB | read from the layer, MB |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, of in best.items():
        print(f"| {name} | {of.login:.0f} | {of.done:.0f} | {of.processor:.0f} | {of.memory:.0f} | {of.read:.0f} |")
    ratio = best["agent"].done / best["plain"].login
    print(f"contextualized after {ratio:.2f} of a plain boot, at most {BOUND:g}")
    return int(ratio > BOUND)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
