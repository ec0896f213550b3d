"""The units of systemd: what can be told of them without starting them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from configparser import RawConfigParser
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "deploy/systemd"
SERVICES = sorted(UNITS.glob("*.service"))
HOST = Path("/lib/systemd/system")


def read(unit: Path) -> RawConfigParser:
    """Return the sections of a unit; of keys that come several times, the last."""
    parsed = RawConfigParser(strict=False, delimiters=("=",), comment_prefixes=("#",))
    parsed.optionxform = str  # type: ignore[assignment,method-assign]  # the documented way to keep the case
    parsed.read(unit)
    return parsed


def security(unit: Path) -> list[dict[str, str]]:
    command = ["systemd-analyze", "security", "--offline=true", "--json=short", str(unit)]
    return list(json.loads(subprocess.run(command, capture_output=True, check=True).stdout))


def test_systemd_has_no_complaint(tmp_path: Path) -> None:
    """On a machine that has all units of systemd, and the programs that ours start."""
    folder = tmp_path / "usr/lib/systemd/system"
    shutil.copytree(HOST, folder, symlinks=True)
    programs = tmp_path / "usr/bin"
    programs.mkdir()
    (tmp_path / "bin").symlink_to("usr/bin")
    for name in ("ucvm-agent", "ucvm-controller", "udevadm", "sh"):
        (programs / name).touch(mode=0o755)
    units = [shutil.copy(unit, folder) for unit in (*SERVICES, *UNITS.glob("*.target"))]
    command = ["systemd-analyze", "verify", "--man=no", f"--root={tmp_path}", *units]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert [line for line in result.stderr.splitlines() if "ucvm" in line] == []
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    "unit", [unit for unit in SERVICES if "controller" not in unit.name], ids=lambda unit: unit.name
)
def test_a_machine_can_do_without_the_agent(unit: Path) -> None:
    """`ucvm=off` on the kernel command line and a file keep each unit from doing anything."""
    lines = unit.read_text().splitlines()
    assert "ConditionKernelCommandLine=!ucvm=off" in lines
    assert "ConditionPathExists=!/etc/ucvm-agent/disabled" in lines


@pytest.mark.parametrize("name", ["ucvm-agent-local", "ucvm-agent", "ucvm-contextualized"])
def test_no_target_of_the_boot_waits(name: str) -> None:
    """A target waits for all that it wants, unless that has no default dependencies (systemd.target(5))."""
    unit = read(UNITS / f"{name}.service")
    assert unit["Unit"]["DefaultDependencies"] == "no"
    assert "Before=shutdown.target" in (UNITS / f"{name}.service").read_text().splitlines()


def test_commands_and_jobs_outlive_the_agent() -> None:
    """Whatever ends the agent ends only the agent, and it is started again."""
    service = read(UNITS / "ucvm-agent.service")["Service"]
    assert (service["KillMode"], service["OOMPolicy"], service["Restart"]) == ("process", "continue", "on-failure")


def test_each_protection_that_is_left_out_has_its_reason() -> None:
    """What `systemd-analyze security` misses is named in a comment of the unit."""
    text = (UNITS / "ucvm-agent.service").read_text()
    told = set(re.findall(r"[A-Z]\w+", "".join(line for line in text.splitlines(True) if line.startswith("#"))))
    missing = {
        re.split("[=/]", check["name"])[0] for check in security(UNITS / "ucvm-agent.service") if check["exposure"]
    }
    assert missing - told - {"RestrictAddressFamilies"} == set()


@pytest.mark.parametrize(
    ("name", "bound"),
    [("ucvm-agent-pair@", 2.5), ("ucvm-contextualized", 3.0), ("ucvm-controller", 1.5), ("ucvm-agent-local", 6.0)],
)
def test_what_runs_no_scripts_is_shut_in(name: str, bound: float) -> None:
    """docs/deployment.md names the score of each."""
    command = ["systemd-analyze", "security", "--offline=true", f"--threshold={round(bound * 10)}", f"{name}.service"]
    result = subprocess.run(command, cwd=UNITS, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout.splitlines()[-1:]
