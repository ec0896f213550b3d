"""Settings that the daemon can work by: those that the rooms refuse do not count if they are of the user-data."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import structlog

from ucvm_agent import sources
from ucvm_agent.daemon import attendance
from ucvm_agent.daemon.counterparts import make_consumer
from ucvm_agent.errors import SettingsError
from ucvm_agent.report.reporters import make_reporters
from ucvm_agent.settings import Settings
from ucvm_agent.settings.layers import Effective

log = structlog.get_logger()

REFUSED = "settings of the user-data are left out"


class Load(Protocol):
    """What reads the settings; without those of the user-data if told so."""

    def __call__(self, *, with_context: bool = True) -> Effective[Settings]:
        """Raise `SettingsError` if they are wrong."""


def read_usable(load: Load) -> Effective[Settings]:
    """Return the settings; `refused` says why those of the user-data are not among them, if they are not.

    Raises:
        SettingsError: the others are wrong.
    """
    effective = load()
    try:
        _check(effective.settings)
    except SettingsError as error:
        effective = replace(load(with_context=False), refused=error)
        _check(effective.settings)
    if effective.refused is not None:
        log.warning(REFUSED, reason=str(effective.refused))
    return effective


def _check(settings: Settings) -> None:
    """Raise `SettingsError` for what only the rooms can tell: a source, a JID or a key that cannot be one."""
    sources.make_all(settings)
    make_reporters(settings, machine_id="")
    make_consumer(settings.jobs)
    attendance.check(settings)
