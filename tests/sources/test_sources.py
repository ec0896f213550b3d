"""Sources are found by their names."""

from __future__ import annotations

import pytest

from ucvm_agent.errors import SettingsError
from ucvm_agent.settings import Settings
from ucvm_agent.sources import make, names


def test_every_source_can_be_made_from_the_default_settings() -> None:
    """Each module of the room is a source of its own name, or one of the few that support them."""
    assert {"ec2", "file"} <= set(names())
    for name in names():
        assert make(name, Settings()).name == name


@pytest.mark.parametrize(
    ("name", "hint"), [("ec3", "did you mean ec2"), ("xyz", "there are cernvm_online, ec2"), ("base", "there")]
)
def test_unknown_source_is_a_settings_error_with_the_nearest_name(name: str, hint: str) -> None:
    """Also for a module that is no source."""
    with pytest.raises(SettingsError, match=hint):
        make(name, Settings())
