"""What the daemon is to contextualize the machine by, and what it is contextualized by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ucvm_agent.sources.base import Found
    from ucvm_agent.stages.preparation import Prepared


@dataclass(frozen=True, slots=True)
class News:
    """What is to be contextualized.

    Arguments:
        answer: of a source, if it is one; what has been found since may have been added.
        completes: the earlier one that it belongs to.
    """

    found: Found
    answer: Found | None = None
    completes: Found | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """What the machine is contextualized by, and which answer of a source it stems from, if it is one."""

    prepared: Prepared
    answer: Found | None
