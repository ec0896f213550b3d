"""What is logged, and where to; in a process of its own, since logging belongs to the whole process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ucvm_agent.errors import SettingsError
from ucvm_agent.process.log import Stamp, configure
from ucvm_agent.settings import Log

PROGRAM = """\
import os, pathlib, sys, structlog
from pydantic import SecretStr
from ucvm_agent.process import log
from ucvm_agent.settings import Log

os.umask(0)
log.configure(Log(file=pathlib.Path(sys.argv[1])), log.Stamp("boot-1"))
structlog.get_logger("ucvm_agent").warning("µ", password="geheim", key=SecretStr("geheim"), jid="vm@example.org")
"""


def test_a_log_file_is_private_and_holds_no_secret(tmp_path: Path) -> None:
    """Only its owner reads it; values are masked by type and by name."""
    file = tmp_path / "agent.log"
    subprocess.run([sys.executable, "-c", PROGRAM, str(file)], check=True, timeout=60)
    assert file.stat().st_mode & 0o777 == 0o600
    line = json.loads(file.read_text(encoding="utf-8"))
    assert (line["event"], line["password"], line["key"], line["jid"]) == ("µ", "***", "***", "vm@example.org")
    assert (line["boot"], line["level"]) == ("boot-1", "warning")


@pytest.mark.parametrize("form", ["json", "text"])
def test_each_line_tells_boot_and_phase(tmp_path: Path, form: str) -> None:
    """In a file that many boots have written to, the lines of one can be told from another's."""
    file = tmp_path / "agent.log"
    program = (
        "import pathlib, sys, structlog\n"
        "from ucvm_agent.process import log\n"
        "from ucvm_agent.settings import Log\n"
        "stamp = log.Stamp('ae4875cb-3b55-4079-9eb2-e4846f33836e')\n"
        "stamp.phase = 'ready'\n"
        f"log.configure(Log(file=pathlib.Path(sys.argv[1]), format={form!r}), stamp)\n"
        "structlog.get_logger('ucvm_agent.test').info('it works', password='hunter2')\n"
    )
    subprocess.run([sys.executable, "-c", program, str(file)], check=True, timeout=60)
    line = file.read_text()
    assert "ae4875cb" in line
    assert "ready" in line
    assert "hunter2" not in line


def test_a_log_file_that_others_could_read_is_taken_from_them(tmp_path: Path) -> None:
    """It is ours, whoever made it; what is no file stays as it is."""
    file = tmp_path / "agent.log"
    file.touch(0o644)
    file.chmod(0o644)
    subprocess.run([sys.executable, "-c", PROGRAM, str(file)], check=True, timeout=60)
    assert file.stat().st_mode & 0o777 == 0o600
    before = Path("/dev/null").stat().st_mode
    subprocess.run([sys.executable, "-c", PROGRAM, "/dev/null"], check=True, timeout=60)
    assert Path("/dev/null").stat().st_mode == before


def test_an_impossible_log_file_is_a_wrong_setting(tmp_path: Path) -> None:
    """The agent does not start without the log that was asked for."""
    with pytest.raises(SettingsError, match=r"log\.file .*absent"):
        configure(Log(file=tmp_path / "absent" / "agent.log"), Stamp("boot-1"))
