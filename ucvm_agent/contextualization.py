"""The way from settings to a contextualized system, as the dry run, `apply` and the daemon all go it.

discover ──Found──▶ prepare ──Prepared──▶ render (dry run) or apply
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ucvm_agent import sources
from ucvm_agent.contextualize import registry
from ucvm_agent.contextualize.plan import Plan, make_plan
from ucvm_agent.contextualize.preview import Preview, preview
from ucvm_agent.contextualize.rootfs import RootFS
from ucvm_agent.contextualize.system import System
from ucvm_agent.sources.find import find
from ucvm_agent.sources.machine import Machine
from ucvm_agent.store import FILE_NAME
from ucvm_agent.userdata.decode import decode

if TYPE_CHECKING:
    from ucvm_agent.settings import Settings
    from ucvm_agent.sources.base import Found
    from ucvm_agent.sources.survey import Surveyed
    from ucvm_agent.store.journal import Journal

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Prepared:
    """All that is known before anything is changed."""

    found: Found
    system: System
    plan: Plan

    def preview(self, journal: Journal | None) -> Preview:
        """Find out what would change now.

        Arguments:
            journal: of what was done before, if there is one.
        """
        return preview(self.plan, self.system, journal, source=f"{self.found.source} {self.found.origin}")


async def discover(settings: Settings, on_wait: Callable[[str], None] | None = None) -> Found:
    """Find the source that answers.

    Arguments:
        on_wait: called with the reason, whenever another round of asking is needed.

    Raises:
        SettingsError: the settings name a source that does not exist.
        SourceError: none answered within `sources.deadline`.
    """
    candidates = sources.make_all(settings)
    machine = await asyncio.to_thread(Machine.read)
    chosen = sources.chosen(settings)
    return await find(candidates, machine, settings.sources.deadline, on_wait, chosen=chosen)


async def survey_sources(settings: Settings) -> list[Surveyed]:
    """Ask all sources that may be asked, not only until one answers.

    Raises:
        SettingsError: the settings name a source that does not exist.
    """
    from ucvm_agent.sources.survey import survey

    machine = await asyncio.to_thread(Machine.read)
    return await survey(sources.make_all(settings), machine, chosen=sources.chosen(settings))


def prepare(found: Found, settings: Settings) -> Prepared:
    """Decode the user-data and plan what it asks for; changes nothing.

    Raises:
        UserDataError: it cannot be used at all.
        PlanError: the contextualizers contradict each other.
    """
    system = System(settings.root)
    loaded = registry.load(settings)
    plan = make_plan(decode(found), system, loaded.contextualizers, loaded.problems, disabled=loaded.disabled)
    return Prepared(found, system, plan)


def state_file(settings: Settings) -> Path:
    """Return the real path of the file with the state of the system beneath the root."""
    return RootFS(settings.root).real(str(settings.state_dir)) / FILE_NAME


def boot_id() -> str:
    """Return the id of this boot of the kernel."""
    return BOOT_ID.read_text().strip()
