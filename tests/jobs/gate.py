"""Gates at which jobs wait, so that a test knows how far they are, and lets them go on."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path


def make_gate(folder: Path) -> Path:
    """Make a pipe at which a job waits that reads it (`cat`)."""
    gate = folder / "gate"
    os.mkfifo(gate)
    gate.chmod(0o666)
    return gate


async def reach(gate: Path) -> int:
    """Wait until the job is at its gate; it stays there until the returned descriptor is closed."""
    return await asyncio.to_thread(os.open, gate, os.O_WRONLY)
