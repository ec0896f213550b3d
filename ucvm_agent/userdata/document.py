"""What is known of a document while it is being read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ucvm_agent.sources.base import Found, Metadata
from ucvm_agent.userdata.bounds import Bounds
from ucvm_agent.userdata.context import Part, Place, Script
from ucvm_agent.userdata.include import Inclusion
from ucvm_agent.userdata.piece import Piece
from ucvm_agent.userdata.problems import Problems
from ucvm_agent.userdata.split import Region
from ucvm_agent.userdata.written import Tree


@dataclass(slots=True)
class Document:
    """What one document (the user's, the vendor's, …) has yielded so far.

    Arguments:
        local: it is a file of this machine, so that it may include others.
        told: what it says of the instance itself.
        origins: for each part that was included, the part of the document itself that led to it.
    """

    found: Found
    bounds: Bounds
    problems: Problems
    inclusion: Inclusion
    keys: Mapping[str, str] | None = None
    local: bool = False
    told: Metadata = field(default_factory=Metadata)
    missing: dict[str, Place] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    parts: list[Part] = field(default_factory=list)
    boothooks: list[Script] = field(default_factory=list)
    scripts: list[Script] = field(default_factory=list)
    config: Tree = field(default_factory=dict)
    sections: Tree = field(default_factory=dict)
    pilot: Tree = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Text:
    """A piece as text: `raw` lines hold bytes that are no UTF-8 as surrogate escapes, `lines` hold none."""

    piece: Piece
    raw: list[str]
    lines: list[str]
    regions: list[Region]

    def place(self, region: Region) -> Place:
        """Return where a region begins."""
        return Place(self.piece.name, region.start + 1, 1)
