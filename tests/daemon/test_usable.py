"""Settings that the daemon can work by."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from ucvm_agent.daemon.usable import read_usable
from ucvm_agent.errors import SettingsError
from ucvm_agent.settings.layers import load

STRANGE = '[xmpp]\njid = "vm@{}.example"\n'.format("x" * 70)
"""An account that only the XMPP library knows to be none: a label of a domain has at most 63 characters."""


def test_settings_of_user_data_that_a_room_refuses_do_not_count(tmp_path: Path) -> None:
    """The daemon starts without them, and knows why."""
    file = tmp_path / "etc/ucvm-agent/context.toml"
    file.parent.mkdir(parents=True)
    file.write_text(STRANGE)
    effective = read_usable(partial(load, None, {}, "", {"root": tmp_path}))
    assert effective.settings.xmpp.jid == ""
    assert "not a JID" in str(effective.refused)


def test_those_of_the_site_have_to_be_right(tmp_path: Path) -> None:
    """Somebody is there to mend them."""
    file = tmp_path / "agent.toml"
    file.write_text(STRANGE)
    with pytest.raises(SettingsError, match="not a JID"):
        read_usable(partial(load, file, {}, "", {"root": tmp_path}))
