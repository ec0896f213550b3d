"""Sources are found by their names."""

from __future__ import annotations

import pytest

from ucvm_agent.errors import SettingsError
from ucvm_agent.settings import Settings
from ucvm_agent.sources import chosen, make, make_all, names


def test_every_source_can_be_made_from_the_default_settings() -> None:
    """Each module of the room is a source of its own name, or one of the few that support them."""
    assert {"ec2", "file"} <= set(names())
    for name in names():
        assert make(name, Settings()).name == name


@pytest.mark.parametrize(("name", "hint"), [("ec3", "did you mean ec2"), ("xyz", "there are .*ec2"), ("base", "there")])
def test_unknown_source_is_a_settings_error_with_the_nearest_name(name: str, hint: str) -> None:
    """Also for a module that is no source."""
    with pytest.raises(SettingsError, match=hint):
        make(name, Settings())


def test_auto_means_all_that_there_are() -> None:
    """A person who names some has chosen; the default leaves it to the machine."""
    default = Settings()
    assert not chosen(default)
    assert [source.name for source in make_all(default)] == names()
    named = Settings.model_validate({"sources": {"names": ["file", "ec2"]}})
    assert chosen(named)
    assert [source.name for source in make_all(named)] == ["file", "ec2"]
