"""Takes in what the user-data include, decodes it all, and plans what it asks for; nothing of the machine changes."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ucvm_agent.cluster.membership import Membership, hold_back, read_membership, without_premature
from ucvm_agent.contextualize import registry
from ucvm_agent.contextualize.plan import Plan, make_plan
from ucvm_agent.contextualize.preview import Preview, preview
from ucvm_agent.contextualize.system import System
from ucvm_agent.include.gathering import gather
from ucvm_agent.stages.place import state_file
from ucvm_agent.userdata.context import Context, Problem, Severity, parse_key
from ucvm_agent.userdata.decode import decode

if TYPE_CHECKING:
    from ucvm_agent.settings import Settings
    from ucvm_agent.sources.base import Found
    from ucvm_agent.sources.cernvm_online import Key
    from ucvm_agent.store.journal import Journal

NAMED_BY = "[cernvm] contextualization_key"
"""The option that names a context of CernVM Online (references/amiconfig.md, section 8)."""

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
