"""A network of the test's own: a VM and a cloud, each a network namespace, and black holes everywhere else.

The cloud's side routes for the VM and drops what goes to an address that nobody serves, without a word, as a
firewall does.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Self
from uuid import uuid4

LINK_LOCAL = "169.254.169.254"
OPENSTACK_IPV6 = "fe80::a9fe:a9fe"
GCE_IPV6 = "fd20:ce::254"
CLOUDSTACK = "10.1.1.1"
DHCP_SERVER = "10.0.0.1"
PIN_SERVICE = "10.0.0.9"
VM = "10.0.0.7"
GATEWAY = "10.0.0.254"

REPOSITORY = Path(__file__).parents[2]

_WITHOUT_DISKS = 'mount -t tmpfs none /sys/class/block && exec "$@"'
"""`ip netns exec` has mounts of its own. Those of this machine may be the volumes of another test."""


class Network:
    """The two namespaces; needs root.

    Arguments:
        nameserver: of the VM; by default one that never answers.
        only_ipv6: the VM has no IPv4 address, and no IPv6 one but that of its link.
    """

    def __init__(self, nameserver: str = "10.0.0.53", *, only_ipv6: bool = False) -> None:
        self._nameserver = nameserver
        self._only_ipv6 = only_ipv6
        self._stack = ExitStack()
        name = uuid4().hex[:8]
        self.vm, self._cloud = f"ucvm-{name}-vm", f"ucvm-{name}-cloud"
        self._ends = f"v{name}", f"c{name}"

    @staticmethod
    def possible() -> bool:
        """Return whether this process may make namespaces."""
        if os.geteuid() != 0:
            return False
        return subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode == 0

    def __enter__(self) -> Self:
        with self._stack:
            for name in (self.vm, self._cloud):
                _ip("netns", "add", name)
                self._stack.callback(_ip, "netns", "delete", name)
            if self._only_ipv6:
                self._connect_ipv6()
            else:
                self._connect()
            self._write_resolver()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _connect(self) -> None:
        inside, outside = self._ends
        _ip("link", "add", inside, "netns", self.vm, "type", "veth", "peer", "name", outside, "netns", self._cloud)
        for name, device, address in ((self.vm, inside, VM), (self._cloud, outside, GATEWAY)):
            _ip("-n", name, "address", "add", f"{address}/24", "dev", device)
            _ip("-n", name, "link", "set", device, "up")
            _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", self.vm, "route", "add", "default", "via", GATEWAY)
        _ip("-n", self.vm, "route", "add", DHCP_SERVER, "via", GATEWAY)
        _ip("-n", self.vm, "route", "add", PIN_SERVICE, "via", GATEWAY)
        for address in ("default", DHCP_SERVER, PIN_SERVICE):
            _ip("-n", self._cloud, "route", "add", "blackhole", address)
        forwarding = "echo 1 > /proc/sys/net/ipv4/ip_forward"
        subprocess.run(["ip", "netns", "exec", self._cloud, "sh", "-c", forwarding], check=True)

    def _connect_ipv6(self) -> None:
        inside, outside = self._ends
        for name in (self.vm, self._cloud):
            # An address is there at once, without asking whether somebody has it.
            trusting = "echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad"
            subprocess.run(["ip", "netns", "exec", name, "sh", "-c", trusting], check=True)
        _ip("link", "add", inside, "netns", self.vm, "type", "veth", "peer", "name", outside, "netns", self._cloud)
        for name, device in ((self._cloud, outside), (self.vm, inside)):
            _ip("-n", name, "link", "set", device, "up")
        _ip("-n", self.vm, "-6", "route", "add", "default", "dev", inside)

    def _write_resolver(self) -> None:
        folder = Path("/etc/netns") / self.vm  # where `ip netns exec` takes it from
        folder.mkdir(parents=True)
        self._stack.callback(shutil.rmtree, folder)
        (folder / "resolv.conf").write_text(f"nameserver {self._nameserver}\n")

    def serve(self, address: str, module: str, *arguments: str) -> None:
        """Run a server at port 80 of an address of the cloud: `tests.servers.imds`, say."""
        if ":" in address:
            _ip("-n", self._cloud, "address", "add", f"{address}/64", "dev", self._ends[1], "nodad")
        else:
            _ip("-n", self._cloud, "address", "add", f"{address}/32", "dev", "lo")
        host = f"{address}%{self._ends[1]}" if address.startswith("fe80:") else address
        command = [sys.executable, "-m", module, *arguments, "--host", host, "--port", "80"]
        server = subprocess.Popen(
            ["ip", "netns", "exec", self._cloud, *command],
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            stdout=subprocess.PIPE,
            text=True,
        )
        self._stack.callback(_end, server)
        assert server.stdout is not None
        assert server.stdout.readline(), f"{module} did not start"

    def run(self, *command: str | Path, environment: Mapping[str, str] | None = None, seconds: float = 60.0) -> str:
        """Run a command in the VM, and return what it prints; without an environment it finds this checkout."""
        result = subprocess.run(
            ["ip", "netns", "exec", self.vm, "sh", "-c", _WITHOUT_DISKS, "sh", *command],
            cwd=REPOSITORY if environment is None else "/",
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)} if environment is None else environment,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert result.returncode in (0, 4), result.stderr
        return result.stdout


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def _end(server: subprocess.Popen[str]) -> None:
    server.terminate()
    server.wait(timeout=10)
    if server.stdout:
        server.stdout.close()
