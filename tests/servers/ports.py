"""Ports for servers that have to know theirs before they start, or are away for a while."""

from __future__ import annotations

import random
import socket
from contextlib import suppress

LOOPBACK = "127.0.0.1"
FIRST, LAST = 10_000, 32_767
"""Below those that Linux gives to whoever asks for any, and to each connection that goes out."""

_chance = random.Random()


def free_port() -> int:
    """Return a port of loopback that nobody has, and that nobody gets by chance while its server is away.

    One that the kernel gives to others could be taken before its server is there. Somebody who tries again and again to
    connect to it could even be given that very port, and so meet himself.
    """
    while True:
        port = _chance.randint(FIRST, LAST)
        with socket.socket() as probe, suppress(OSError):
            probe.bind((LOOPBACK, port))
            return port
