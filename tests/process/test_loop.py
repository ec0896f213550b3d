"""The daemon's event loop: names are looked up as ever, and hold up nothing."""

from __future__ import annotations

import asyncio
import socket
import threading
import time

import pytest

from ucvm_agent.process.loop import Loop


def test_names_and_their_absence_are_found() -> None:
    """An address, a name of /etc/hosts, and one that cannot be."""

    async def look_up() -> None:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo("localhost", 80, family=socket.AF_INET, type=socket.SOCK_STREAM)
        assert found[0][4] == ("127.0.0.1", 80)
        for impossible in ("no such name", "a" * 64):
            with pytest.raises((OSError, UnicodeError)):
                await loop.getaddrinfo(impossible, 80)

    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(look_up())


def test_the_end_waits_for_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A DNS that never answers does not keep the program from ending."""
    answer = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: answer.wait(20))

    async def look_up() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await asyncio.get_running_loop().getaddrinfo("site.example", 80)

    begun = time.monotonic()
    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(look_up())
    assert time.monotonic() - begun < 5
    answer.set()
