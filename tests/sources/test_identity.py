"""An instance-id where the platform gives none."""

from __future__ import annotations

from ucvm_agent.sources.base import Found, Metadata
from ucvm_agent.sources.identity import with_instance_id


async def test_an_id_of_our_own_is_known_as_such() -> None:
    """It changes with the user-data, and that must not look like another machine."""
    one = await with_instance_id(Found("configdrive", "/dev/sr0", b"one"))
    two = await with_instance_id(Found("configdrive", "/dev/sr0", b"two"))
    assert one.metadata.instance_id != two.metadata.instance_id
    assert one.metadata.derived
    assert two.metadata.derived


async def test_the_platform_knows_better() -> None:
    """What it says is kept."""
    found = Found("configdrive", "/dev/sr0", b"one", metadata=Metadata("i-1"))
    assert await with_instance_id(found) is found
