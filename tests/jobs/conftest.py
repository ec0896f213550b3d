"""What tests of jobs need."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.jobs.place import Place
from tests.jobs.site import Site


@pytest.fixture
def place() -> Iterator[Place]:
    """A place where jobs run."""
    place = Place.make()
    yield place
    place.remove()


@pytest.fixture(params=["original", "ours"])
async def site(request: pytest.FixtureRequest) -> AsyncIterator[Site]:
    """A site whose manager is an original one, or one of ours."""
    async with Site.open(ours=request.param == "ours") as site:
        yield site


@pytest.fixture
async def our_site() -> AsyncIterator[Site]:
    """A site whose manager is one of ours."""
    async with Site.open(ours=True) as site:
        yield site


@pytest.fixture
async def original_site() -> AsyncIterator[Site]:
    """A site whose manager is an original one."""
    async with Site.open(ours=False) as site:
        yield site
