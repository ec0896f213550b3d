"""Where user-data comes from: one module a source, found by its name.

A source answers with raw bytes and the platform's metadata; it never looks into the bytes. A module that
needs aiohttp is imported when its source is used; tests/test_rooms.py holds what else this room may import.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from ucvm_agent.errors import SettingsError
from ucvm_agent.nearest import suggest

if TYPE_CHECKING:
    from pathlib import Path

    from ucvm_agent.settings import Settings
    from ucvm_agent.sources.asker import Asker
    from ucvm_agent.sources.base import Source

AUTO = "auto"
"""In `sources.names`: all sources, as far as the machine does not speak against them."""

NAMES = (
    "azure",
    "bootloader",
    "cernvm_online",
    "cloudstack",
    "configdrive",
    "ec2",
    "extra",
    "file",
    "gce",
    "nocloud",
    "opennebula",
    "openstack",
    "vsphere",
    "xmpp",
)
"""All sources: modules of this room, each with a class `Source`."""


def chosen(settings: Settings) -> bool:
    """Return whether the settings name the sources to ask, instead of leaving it to the machine's signs."""
    return AUTO not in settings.sources.names


def make_all(settings: Settings, folder: Path | None = None, asker: Asker | None = None) -> list[Source]:
    """Make the sources that the settings name, in that order; all that exist for `auto`.

    Arguments:
        folder: of the agent's state, see `base.Source.make`.
        asker: how to ask the controllers.

    Raises:
        SettingsError: one of them does not exist.
    """
    return [make(name, settings, folder, asker) for name in (settings.sources.names if chosen(settings) else NAMES)]


def make(name: str, settings: Settings, folder: Path | None = None, asker: Asker | None = None) -> Source:
    """Make the source of that name with its part of the settings.

    Arguments:
        folder: of the agent's state, see `base.Source.make`.
        asker: how to ask the controllers.

    Raises:
        SettingsError: there is no such source.
    """
    if name not in NAMES:
        hint = suggest(name, NAMES) or f"there are {', '.join(NAMES)}"
        raise SettingsError(f"there is no source {name!r}", where="sources.names", hint=hint)
    source: Source = import_module(f"{__name__}.{name}").Source.make(settings.sources, folder)
    source.asker = asker
    return source
