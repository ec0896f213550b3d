"""Included texts of earlier boots survive whatever happens to the machine."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from ucvm_agent.include.cache import Cache

URL = "https://example.org/a?hush"

WRITER = """
import itertools, sys
from pathlib import Path
from ucvm_agent.include.cache import Cache
cache = Cache(Path(sys.argv[1]), "i-1")
for number in itertools.count():
    cache.write("https://example.org/a?hush", b"%d " % (number % 10) * 100_000)
    print(number, flush=True)
"""


def test_a_copy_is_whole_after_a_kill_at_any_instant(tmp_path: Path) -> None:
    """Either the old one or the new one, and the next write is not in the way of what was left."""
    for delay in (0.0, 0.003, 0.007, 0.012):
        words = [sys.executable, "-c", textwrap.dedent(WRITER), str(tmp_path)]
        with subprocess.Popen(words, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(delay)
            writer.send_signal(signal.SIGKILL)
        text = Cache(tmp_path, "i-1").read(URL)
        assert text is not None
        assert len(set(text.split())) == 1
        assert len(text) == 200_000


def test_names_and_files_tell_nothing_to_others(tmp_path: Path) -> None:
    """A URL may hold a token, and what it brings a password."""
    Cache(tmp_path / "a" / "b", "i-1").write(URL, b"text")
    (path,) = (tmp_path / "a" / "b").iterdir()
    assert "hush" not in path.name
    assert b"hush" not in path.read_bytes()
    assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("content", [b"", b"x", bytes(200), b"0" * 64 + b" " + b"0" * 64 + b"\n"])
def test_what_is_no_copy_counts_as_none(tmp_path: Path, content: bytes) -> None:
    """Whatever it is."""
    cache = Cache(tmp_path, "i-1")
    cache.write(URL, b"text")
    (path,) = tmp_path.iterdir()
    path.write_bytes(content)
    assert cache.read(URL) is None


def test_a_folder_that_cannot_be_written_is_no_reason_to_fail(tmp_path: Path) -> None:
    """The boot goes on, and the log says why the next one may not."""
    (tmp_path / "file").touch()
    cache = Cache(tmp_path / "file" / "folder", "i-1")
    with capture_logs() as logs:
        cache.write(URL, b"text")
        cache.prune([])
    assert cache.read(URL) is None
    assert [entry["log_level"] for entry in logs] == ["warning"]
    assert "hush" not in str(logs)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
