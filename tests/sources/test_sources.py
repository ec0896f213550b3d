"""Sources are found by their names."""

from __future__ import annotations

from pathlib import Path

import pytest

from ucvm_agent import sources
from ucvm_agent.errors import SettingsError
from ucvm_agent.settings import Settings
from ucvm_agent.sources import NAMES, chosen, make, make_all


def test_every_source_can_be_made_from_the_default_settings() -> None:
    """Each module of the room that has a source is one of its own name."""
    room = Path(sources.__file__).parent
    assert set(NAMES) == {path.stem for path in room.glob("*.py") if "\nclass Source(base.Source)" in path.read_text()}
    for name in NAMES:
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
    assert [source.name for source in make_all(default)] == list(NAMES)
    named = Settings.model_validate({"sources": {"names": ["file", "ec2"]}})
    assert chosen(named)
    assert [source.name for source in make_all(named)] == ["file", "ec2"]
