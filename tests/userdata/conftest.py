"""What the decoder's tests share: decoding a text, and reading a context's findings back as plain data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from ucvm_agent.sources.base import Found
from ucvm_agent.userdata.context import Context, Severity, thaw
from ucvm_agent.userdata.decode import decode

Decode = Callable[..., Context]


def values(context: Context) -> Any:
    """Return the values as plain dicts and lists."""
    return thaw(context.values)


def findings(context: Context) -> list[tuple[Severity, int, str]]:
    """Return severity, line and message of each problem."""
    return [(problem.severity, problem.place.line, problem.message) for problem in context.problems]


def lines_of(context: Context, section: str) -> Mapping[str, int]:
    """Return the line of each option of a section."""
    return {str(path[1]): place.line for path, place in context.places.items() if path[0] == section and len(path) > 1}


@pytest.fixture(name="read")
def _read() -> Decode:
    """Decode a text or bytes as the user-data of a file."""

    def read(data: str | bytes, **more: Any) -> Context:
        return decode(Found("file", "test", data.encode() if isinstance(data, str) else data, **more))

    return read
