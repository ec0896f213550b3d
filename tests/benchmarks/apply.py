"""The same user-data applied by the agent and by cloud-init's four stages, side by side in one run.

    python -m tests.benchmarks.apply [--rounds 5]     (as root; takes about a minute)

Each run has the machine's own system to itself: an overlay over `/` whose upper layer is in memory, in new
namespaces (mount, host name, network, processes), with a `/dev` that has no disks. Nothing of the machine is
changed. Every run is checked to have done the work. Exit code 1 if the agent takes more than a quarter.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from tests.benchmarks.installation import REPOSITORY, cloud_init, installed_agent, without_caches
from tests.benchmarks.measure import Cost, compare, measure

BOUND = 0.25
NAMESPACES = ("unshare", "--mount", "--uts", "--net", "--ipc", "--pid", "--fork", "--mount-proc")
STAGES = (("init", "--local"), ("init",), ("modules", "--mode=config"), ("modules", "--mode=final"))
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl me@example.org"
USERS = ("ada", "grace", "emmy")
_ACCOUNTS = "\n".join(
    f"  - {{name: {name}, groups: [physicists], shell: /bin/sh, ssh_authorized_keys: ['{KEY}']}}" for name in USERS
)
USER_DATA = f"""\
#cloud-config
hostname: worker-1
groups: [physicists]
users:
{_ACCOUNTS}
write_files:
  - {{path: /etc/analysis.conf, content: "events = 1000\\n", permissions: '0640'}}
  - {{path: /srv/data/README, content: "hello\\n"}}
  - {{path: /usr/local/bin/greet, content: "#!/bin/sh\\necho hello\\n", permissions: '0755'}}
runcmd:
  - [sh, -c, 'echo first > /var/log/ran-first']
  - /usr/local/bin/greet > /var/log/ran-second
"""
SITE_CONFIGURATION = """\
datasource_list: [NoCloud]
ssh_genkeytypes: []
ssh_deletekeys: false
growpart: {mode: "off"}
resize_rootfs: false
locale: false
grub_dpkg: {enabled: false}
"""
"""Spares cloud-init work that the agent does not do either, and that needs a disk or a whole Debian."""


def main() -> int:
    """Read the command line, measure in turns, report."""
    parser = argparse.ArgumentParser(description="Compare the agent with cloud-init on the same user-data.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--inside", nargs="+", help=argparse.SUPPRESS)  # what runs in the namespaces
    arguments = parser.parse_args()
    if arguments.inside:
        folder, name, *command = arguments.inside
        return run_inside(Path(folder), name, command)
    if os.geteuid():
        sys.exit("run this as root: it mounts")
    theirs_command = [cloud_init()]
    ours, theirs = [], []
    with installed_agent() as agent:
        for _ in range(1 + arguments.rounds):
            ours.append(run("agent", [str(agent)]))
            theirs.append(run("cloud-init", theirs_command))
    names = "ucvm-agent apply", "cloud-init, four stages"
    return 0 if compare(ours[1:], theirs[1:], names, BOUND) else 1


def run(name: str, command: list[str]) -> Cost:
    """Apply the user-data with one of the two in namespaces of its own."""
    with tempfile.TemporaryDirectory(prefix="ucvm-benchmark.") as folder:
        module = (sys.executable, "-m", __spec__.name, "--inside", folder, name, *command)
        result = subprocess.run([*NAMESPACES, *module], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if result.returncode:
        sys.exit(f"{name} failed: {result.stderr[-2000:]}")
    return Cost(**json.loads(result.stdout))


def run_inside(folder: Path, name: str, command: list[str]) -> int:
    """Mount the overlay, apply, check, and print the cost as JSON."""
    root = mount_system(folder)
    chroot = ["chroot", str(root), *command]
    if name == "agent":
        (root / "root" / "user-data").write_text(USER_DATA)
        steps = [[*chroot, "apply", "--user-data", "/root/user-data"]]
    else:
        seed_cloud_init(root)
        steps = [[*chroot, *stage] for stage in STAGES]
    try:
        wall = sum(measure(step, without_caches()).wall for step in steps)
    except subprocess.CalledProcessError as error:
        log = root / "var/log/cloud-init.log"
        sys.exit(f"{error}: {error.stderr}{log.read_text() if log.exists() else ''}")
    reap()
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    check(root)
    print(json.dumps({"wall": wall, "cpu": usage.ru_utime + usage.ru_stime}))
    return 0


def reap() -> None:
    """Wait for those whose parents are gone: we are process 1 here, and their processor time counts too."""
    with suppress(ChildProcessError):
        while True:
            os.wait()


def mount_system(folder: Path) -> Path:
    """Make an overlay over `/`, with its changes in memory, and return where it is."""
    mount("tmpfs", folder)
    root = folder / "root"
    for name in ("upper", "work", "root"):
        (folder / name).mkdir()
    mount("overlay", root, f"lowerdir=/,upperdir={folder}/upper,workdir={folder}/work")
    for name in ("dev", "run"):
        mount("tmpfs", root / name)
    mount("proc", root / "proc")
    mount("sysfs", root / "sys", "ro")
    for name in ("null", "zero", "full", "random", "urandom", "tty"):
        device = Path("/dev", name).stat()
        os.mknod(root / "dev" / name, device.st_mode, device.st_rdev)
    return root


def mount(kind: str, where: Path, options: str = "rw") -> None:
    """Mount a file system of this kind."""
    subprocess.run(["mount", "-t", kind, "-o", options, kind, str(where)], check=True)


def seed_cloud_init(root: Path) -> None:
    """Give cloud-init the user-data as its NoCloud source has it, and no memory of an earlier run."""
    shutil.rmtree(root / "var/lib/cloud", ignore_errors=True)
    seed = root / "var/lib/cloud/seed/nocloud"
    seed.mkdir(parents=True)
    (seed / "user-data").write_text(USER_DATA)
    (seed / "meta-data").write_text("instance-id: i-benchmark\n")
    (root / "etc/cloud/cloud.cfg.d/99_benchmark.cfg").write_text(SITE_CONFIGURATION)


def check(root: Path) -> None:
    """Make sure that all that the user-data asks for has been done."""
    accounts = (root / "etc/passwd").read_text()
    for name in USERS:
        assert f"\n{name}:" in accounts, f"no user {name}"
        assert KEY in (root / "home" / name / ".ssh/authorized_keys").read_text(), f"no key of {name}"
    expected = {
        "etc/hostname": "worker-1\n",
        "etc/analysis.conf": "events = 1000\n",
        "srv/data/README": "hello\n",
        "var/log/ran-first": "first\n",
        "var/log/ran-second": "hello\n",
    }
    for path, content in expected.items():
        found = (root / path).read_text()
        assert found == content, f"{path} holds {found!r}"


if __name__ == "__main__":
    sys.exit(main())
