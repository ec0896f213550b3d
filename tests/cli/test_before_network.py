"""`ucvm-agent apply --local`: what is done while there is no network, and what the next run makes of it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ucvm_agent.store.status import read

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHR4pYzmjLPKkyHrEUDRJ5Gh7RPJ3SYvbXUoFYKqm3Bp ada@example.org"

CONTEXT = f"""\
#cloud-config
hostname: worker-1
ssh_pwauth: false
ssh_authorized_keys: [{KEY}]
write_files:
  - {{path: /etc/motd, content: hello}}
runcmd:
  - [/bin/busybox, touch, /etc/ran]
"""

EARLY = {"/etc/hostname", "/etc/hosts", "/etc/ssh/sshd_config.d/10-ucvm.conf", "/root/.ssh/authorized_keys"}


@dataclass
class Image:
    """A root whose user-data are in a file of this machine."""

    root: Path
    folder: Path

    def apply(self, context: str, *arguments: str) -> dict[str, Any]:
        """Run `ucvm-agent apply` on user-data, and return what it tells; nothing, if it says nothing."""
        (self.folder / "context").write_text(context)
        return self.run("--user-data", str(self.folder / "context"), *arguments)

    def run(self, *arguments: str) -> dict[str, Any]:
        """Run it with these arguments; see `apply`."""
        command = [sys.executable, "-m", "ucvm_agent", "apply", "--root", str(self.root), "--format", "json"]
        result = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=60, check=False)
        assert result.returncode == 0, result.stderr
        return dict(json.loads(result.stdout)) if result.stdout else {}

    @property
    def files(self) -> set[str]:
        """What there is now of what the context is about."""
        wanted = EARLY | {"/etc/motd", "/etc/ran"}
        return {path for path in wanted if (self.root / path.lstrip("/")).exists()}


@pytest.fixture
def image(tmp_path: Path, scratch_root: Path) -> Image:
    (scratch_root / "root").mkdir(mode=0o700)
    (scratch_root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (scratch_root / "etc/group").write_text("root:x:0:\n")
    return Image(scratch_root, tmp_path)


def state(image: Image) -> tuple[str, str]:
    status = read(image.root / "var/lib/ucvm-agent/state.db")
    return str(status.state), status.reason


def test_names_and_keys_come_before_the_network(image: Image) -> None:
    """The rest waits for it, and the state says so; a later run does the rest, and nothing twice."""
    shown = image.apply(CONTEXT, "--local", "--dry-run")["actions"]
    assert {action["contextualizer"] for action in shown} == {"hostname", "ssh_keys", "sshd"}
    assert image.files == set()
    early = image.apply(CONTEXT, "--local")["applied"]
    assert (early["changed"], early["failed"]) == (len(EARLY), 0)
    assert image.files == EARLY
    assert state(image) == ("contextualizing", "waiting for the network")
    rest = image.apply(CONTEXT)["applied"]
    assert (rest["changed"], rest["failed"]) == (2, 0)
    assert image.files == EARLY | {"/etc/motd", "/etc/ran"}
    assert state(image) == ("ready", "")


def test_the_next_boot_keeps_what_commands_have_left(image: Image) -> None:
    """Their output is there to be read, although they are no part of what is done early."""
    image.apply(CONTEXT)
    runs = image.root / "var/lib/ucvm-agent/runs"
    before = sorted(runs.iterdir())
    assert before
    assert image.apply(CONTEXT, "--local")["applied"]["changed"] == 0
    assert sorted(runs.iterdir()) == before


@pytest.mark.parametrize(
    "more",
    [
        "#!/bin/sh.before\ntrue\n",
        "#include\nhttps://includes.example.org/hostname\n",
        "[cernvm]\ncontextualization_key=0123456789abcdef0123456789abcdef\n",
    ],
    ids=["a script that comes first", "an include", "another context"],
)
def test_what_may_be_overruled_is_left_to_the_daemon(image: Image, more: str) -> None:
    """Order is kept, and nothing is done early that the whole user-data might say otherwise."""
    boundary = "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=B\n\n"
    parts = "".join(f"--B\nContent-Type: text/plain\n\n{text}\n" for text in (CONTEXT, more))
    assert image.apply(f"{boundary}{parts}--B--\n", "--local")["applied"]["changed"] == 0
    assert image.files == set()


def test_a_secret_that_is_kept_elsewhere_waits(image: Image) -> None:
    """The host key has to be fetched; the host name does not wait for it."""
    context = "#cloud-config\nhostname: worker-1\nssh_keys: {ed25519_private: 'ssm:/grid/host-key'}\n"
    assert image.apply(context, "--local")["applied"]["failed"] == 0
    assert image.files == {"/etc/hostname", "/etc/hosts"}


def test_where_only_a_network_can_tell_nothing_is_done(image: Image) -> None:
    """Neither is it an error, nor does it take time."""
    assert image.run("--local", "--source", "cernvm_online") == {}
    assert state(image)[0] == "None"
