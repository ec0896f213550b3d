"""What tests of jobs need."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.jobs.place import Place


@pytest.fixture
def place() -> Iterator[Place]:
    """A place where jobs run."""
    place = Place.make()
    yield place
    place.remove()
