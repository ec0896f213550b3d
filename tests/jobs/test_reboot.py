"""The end of the machine, with a `systemctl` that only writes down what it is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ucvm_agent.errors import CommandRefused
from ucvm_agent.jobs import reboot


def words(told: Path) -> str:
    """Return what `systemctl` was told."""
    return told.read_text() if told.exists() else ""


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that `systemctl` writes to."""
    told = tmp_path / "told"
    program = tmp_path / "systemctl"
    program.write_text(f'#!/bin/sh\necho "$@" > {told}\ncat {tmp_path}/refusal >&2 2>/dev/null && exit 1\nexit 0\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(reboot, "SYSTEMD", tmp_path)
    return told


async def test_the_machine_is_shut_down_by_systemd(told: Path) -> None:
    """It waits for nothing, since the agent is ended as well."""
    await reboot.power_off()
    assert words(told) == "--no-block poweroff\n"


async def test_systemd_refuses(told: Path) -> None:
    """The operator learns why."""
    (told.parent / "refusal").write_text("an inhibitor is active\n")
    with pytest.raises(CommandRefused, match="an inhibitor is active"):
        await reboot.power_off()


async def test_a_machine_that_shuts_down_is_known(told: Path) -> None:
    """By what systemd says of itself; where nobody can be asked, it is only the agent that stops."""
    (told.parent / "systemctl").write_text("#!/bin/sh\necho stopping; exit 1\n")
    assert await reboot.is_shutting_down()
    (told.parent / "systemctl").write_text("#!/no/such/shell\n")
    assert not await reboot.is_shutting_down()


async def test_without_systemd(told: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is tried."""
    monkeypatch.setattr(reboot, "SYSTEMD", told)
    with pytest.raises(CommandRefused, match="not run by systemd"):
        await reboot.power_off()
    assert words(told) == ""
