"""The lock that keeps agents apart, and by which the daemon is found."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from ucvm_agent.store import lock


@pytest.fixture
def hung_up() -> list[int]:
    return []


@pytest.fixture(autouse=True)
def _takes_sighup(hung_up: list[int]) -> object:
    before = signal.signal(signal.SIGHUP, lambda number, _: hung_up.append(number))
    yield
    signal.signal(signal.SIGHUP, before)


def test_only_a_listening_holder_is_hung_up(tmp_path: Path, hung_up: list[int]) -> None:
    """A one-time run would end by the signal, so that it does not get it; neither does whoever comes after."""
    assert lock.hang_up(tmp_path) is False
    with lock.hold(tmp_path):
        assert lock.hang_up(tmp_path) is False
        lock.listen(tmp_path)
        assert lock.held(tmp_path)
        assert lock.hang_up(tmp_path) is True
    assert hung_up == [signal.SIGHUP]
    assert lock.hang_up(tmp_path) is False
    with lock.hold(tmp_path):
        assert lock.hang_up(tmp_path) is False
    assert hung_up == [signal.SIGHUP]


@pytest.mark.parametrize("content", ["", "x", "-1", "0", "99999999999", "own number, no line end"])
def test_what_is_no_listener(tmp_path: Path, hung_up: list[int], content: str) -> None:
    """Whatever is in the file, nobody else gets a signal."""
    with lock.hold(tmp_path):
        (tmp_path / lock.FILE_NAME).write_text(str(os.getpid()) if content.startswith("own") else content)
        assert lock.hang_up(tmp_path) is False
    assert hung_up == []
