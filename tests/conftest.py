"""What tests of several rooms need."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import hypothesis
import pytest

from tests.daemon.running import Controller, Daemon

if hypothesis.settings.get_current_profile_name() == "default":
    # As Hypothesis has it in CI: how long an example takes tells only how busy the machine is.
    hypothesis.settings.register_profile("busy", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
    hypothesis.settings.load_profile("busy")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail in CI if a test was skipped: what it lacks (a tool, a privilege) has to be there."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture
def scratch_root(tmp_path: Path) -> Path:
    """A root file system that is just large enough to run shell scripts in."""
    root = tmp_path / "root"
    for folder in ("bin", "etc", "tmp", "var/log"):
        (root / folder).mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin/busybox")
    subprocess.run(["chroot", root, "/bin/busybox", "--install", "-s", "/bin"], check=True)
    return root


@pytest.fixture
async def controller() -> AsyncIterator[Controller]:
    """A controller that is told over HTTP."""
    async with Controller() as controller:
        yield controller


@pytest.fixture
async def daemon(tmp_path: Path, scratch_root: Path) -> AsyncIterator[Daemon]:
    """A daemon beneath the scratch root, not started yet."""
    async with Daemon(tmp_path, scratch_root) as daemon:
        yield daemon
