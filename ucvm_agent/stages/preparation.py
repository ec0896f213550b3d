"""The way from settings to a contextualized system, as the dry run, `apply` and the daemon all go it.

discover ──Found──▶ include ──Found──▶ prepare ──Prepared──▶ render (dry run) or apply
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from ucvm_agent import sources
from ucvm_agent.cluster.membership import Membership, hold_back, read_membership, without_premature
from ucvm_agent.contextualize import registry
from ucvm_agent.contextualize.plan import Plan, make_plan
from ucvm_agent.contextualize.preview import Preview, preview
from ucvm_agent.contextualize.system import System
from ucvm_agent.errors import SourceError
from ucvm_agent.files.rootfs import RootFS
from ucvm_agent.include.gathering import gather
from ucvm_agent.sources.find import find, find_local
from ucvm_agent.sources.machine import Machine
from ucvm_agent.store import FILE_NAME
from ucvm_agent.userdata.context import Context, Problem, Severity, parse_key
from ucvm_agent.userdata.decode import decode

if TYPE_CHECKING:
    from ucvm_agent.settings import Settings
    from ucvm_agent.sources.asker import Asker
    from ucvm_agent.sources.base import Found, Source
    from ucvm_agent.sources.cernvm_online import Key
    from ucvm_agent.sources.survey import Surveyed
    from ucvm_agent.store.journal import Journal

log = structlog.get_logger()

NAMED_BY = "[cernvm] contextualization_key"
"""The option that names a context of CernVM Online (references/amiconfig.md, section 8)."""

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
INCLUDES = "includes"
"""Folder of included texts, beside the state file."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """All that is known before anything is changed.

    Arguments:
        membership: of a cluster, if the context says so.
        named: another context, which the context names and which overrules it.
        early: there is no network yet, so only what needs none is due.
    """

    found: Found
    system: System
    plan: Plan
    membership: Membership | None = None
    named: Key | None = None
    early: bool = False

    @property
    def due(self) -> Plan:
        """What of the plan is to be done now."""
        plan = hold_back(self.plan) if self.missing else self.plan
        if not self.early:
            return plan
        # What is to come may overrule any of it.
        incomplete = self.named is not None or bool(plan.context.includes)
        return plan.without(lambda step: incomplete or not step.early)

    @property
    def waits_for(self) -> str:
        """What is still to come from elsewhere before all is done, for people; empty if nothing is."""
        if self.early:
            return "the network"
        if self.named:
            return "the context of CernVM Online that the user-data names"
        return f"keys of the cluster: {', '.join(sorted(self.missing))}" if self.missing else ""

    @property
    def missing(self) -> frozenset[str]:
        """The keys of its cluster that the context still waits for."""
        return self.plan.context.missing if self.membership else frozenset()

    def preview(self, journal: Journal | None) -> Preview:
        """Find out what would change now.

        Arguments:
            journal: of what was done before, if there is one.
        """
        return preview(
            self.due if self.early else self.plan,
            self.system,
            journal,
            source=f"{self.found.source} {self.found.origin}",
        )


async def discover(
    settings: Settings, on_wait: Callable[[str], None] | None = None, asker: Asker | None = None
) -> Found:
    """Find the source that answers, and let others add to it.

    Arguments:
        on_wait: called with the reason, whenever another round of asking is needed.
        asker: how to ask the controllers; without one, over a connection that is made for it.

    Raises:
        SettingsError: the settings name a source that does not exist.
        SourceError: none answered within `sources.deadline`.
    """
    rivals, additions = _made(settings, asker or _visit(settings))
    machine = await asyncio.to_thread(Machine.read)
    found = await find(rivals, machine, settings.sources.deadline, on_wait, chosen=sources.chosen(settings))
    return await _added(found, additions)


async def discover_local(settings: Settings) -> Found | None:
    """Return what `discover` will find once there is a network, if that shows before.

    Raises:
        SettingsError: the settings name a source that does not exist.
    """
    rivals, additions = _made(settings, None)
    machine = await asyncio.to_thread(Machine.read)
    found = await find_local(rivals, machine, chosen=sources.chosen(settings))
    return await _added(found, additions) if found else None


async def fall_back(settings: Settings, remembered: Found | None = None) -> Found | None:
    """Return what to go by where no source answers: what one said at an earlier boot, else what others would add to it.

    Arguments:
        remembered: of an earlier boot; what others add is read anew if that is all it was.
    """
    _, additions = _made(settings, None)
    if remembered is not None and remembered.source not in {source.name for source in additions}:
        return remembered
    for source in additions:
        try:
            return await source.fetch()
        except SourceError as error:
            log.debug("a source adds nothing", source=source.name, reason=str(error))
    return remembered


async def follow(found: Found, settings: Settings, asker: Asker | None) -> AsyncIterator[Found]:
    """Yield what the source says that differs from what it said before, with what others add to it.

    Arguments:
        found: what it said last.
        asker: how to ask the controllers.
    """
    from ucvm_agent.sources import following

    source = sources.make(found.source, settings, state_file(settings).parent, asker)
    _, additions = _made(settings, asker)
    async for newer in following.follow(source, found, settings.sources.follow):
        yield await _added(newer, additions)


async def _added(found: Found, additions: list[Source]) -> Found:
    for source in additions:
        try:
            found = await source.add_to(found)
        except SourceError as error:
            log.warning("a source adds nothing", source=source.name, reason=str(error))
    return found


async def survey_sources(settings: Settings) -> list[Surveyed]:
    """Ask all sources that may be asked, not only until one answers.

    Raises:
        SettingsError: the settings name a source that does not exist.
    """
    from ucvm_agent.sources.survey import survey

    rivals, _ = _made(settings, _visit(settings))
    machine = await asyncio.to_thread(Machine.read)
    return await survey(rivals, machine, chosen=sources.chosen(settings))


def _made(settings: Settings, asker: Asker | None) -> tuple[list[Source], list[Source]]:
    """Return the sources of which one wins, and those that add to what it gives.

    One of the latter counts as one of the former where nothing else is asked.
    """
    made = sources.make_all(settings, state_file(settings).parent, asker)
    rivals = [source for source in made if not source.adds]
    return (rivals, [source for source in made if source.adds]) if rivals else (made, [])


def _visit(settings: Settings) -> Asker | None:
    if not (settings.xmpp.jid and settings.xmpp.controllers):
        return None
    from ucvm_agent.assignment.visit import Visit

    return Visit(settings.xmpp, state_file(settings))


async def include(found: Found, settings: Settings, *, keep: bool) -> Found:
    """Fetch what the user-data include from elsewhere; what cannot be had becomes a problem of the context.

    Arguments:
        keep: whether it is kept for a boot without network; a dry run only uses what is there.

    Raises:
        UserDataError: the user-data cannot be used at all.
    """
    return await gather(found, settings, state_file(settings).parent / INCLUDES, keep=keep)


def prepare(found: Found, settings: Settings, journal: Journal | None = None, *, early: bool = False) -> Prepared:
    """Decode the user-data and plan what it asks for; changes nothing.

    Arguments:
        journal: of what was done before, if there is one; it remembers the keys of the cluster.
        early: there is no network yet.

    Raises:
        UserDataError: it cannot be used at all.
        PlanError: the contextualizers contradict each other.
    """
    system = System(settings.root)
    loaded = registry.load(settings)
    context = decode(found)
    if membership := read_membership(context, settings.cluster):
        context = decode(found, journal.cluster_keys(membership.name) if journal else {})
    named = _named(found, context)
    problems = [*loaded.problems, *_notes(context, named)]
    plan = make_plan(context, system, loaded.contextualizers, problems, disabled=loaded.disabled)
    return Prepared(found, system, without_premature(plan) if membership else plan, membership, named, early)


def _named(found: Found, context: Context) -> Key | None:
    """Return the context of CernVM Online that a context of another source names, if it does (amiconfig's way)."""
    entry = context.entry(NAMED_BY)
    if (
        found.source == "cernvm_online"
        or found.overlay is not None
        or entry is None
        or not isinstance(entry.value, str)
    ):
        return None
    from ucvm_agent.sources.cernvm_online import Key

    with suppress(ValueError):  # the contextualizer that reads the option tells its writer
        return Key.parse(entry.value)
    return None


def _notes(context: Context, named: Key | None) -> list[Problem]:
    if not named:
        return []
    message = "the daemon fetches the context of CernVM Online that this names, and applies it over this user-data"
    place = context.place(parse_key(NAMED_BY))
    return [Problem(Severity.NOTE, place, message)]


def state_file(settings: Settings) -> Path:
    """Return the real path of the file with the state of the system beneath the root."""
    return RootFS(settings.root).real(str(settings.state_dir)) / FILE_NAME


def boot_id() -> str:
    """Return the id of this boot of the kernel."""
    return BOOT_ID.read_text().strip()
