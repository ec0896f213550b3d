"""The problems that decoding finds, collected so that a person can mend several at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from ucvm_agent.userdata.context import Place, Problem, Severity

MAX_LISTED = 200
"""Most problems of each severity that are listed; the rest is only counted."""


class Problems:
    """A growing list of problems, bounded so that a damaged document does not make a report of its own size."""

    def __init__(self) -> None:
        self._listed: list[Problem] = []
        self._counts: Counter[Severity] = Counter()

    def __bool__(self) -> bool:
        return bool(self._counts)

    def error(self, place: Place, message: str, hint: str = "") -> None:
        """Something asked for will not happen."""
        self._add(Problem(Severity.ERROR, place, message, hint))

    def warning(self, place: Place, message: str, hint: str = "") -> None:
        """Something is understood in another way than it is written, or has no effect."""
        self._add(Problem(Severity.WARNING, place, message, hint))

    def note(self, place: Place, message: str, hint: str = "") -> None:
        """Something that its writer may want to know."""
        self._add(Problem(Severity.NOTE, place, message, hint))

    def listed(self, order: Mapping[str, int]) -> tuple[Problem, ...]:
        """Return them in the order of the text, `order` being the position of each part by its name."""
        listed = sorted(self._listed, key=lambda found: (order.get(found.place.part, -1), found.place))
        for severity, count in self._counts.items():
            if count > MAX_LISTED:
                message = f"{count - MAX_LISTED} more problems of severity {severity} are not listed"
                listed.append(Problem(Severity.NOTE, listed[-1].place, message))
        return tuple(listed)

    def _add(self, problem: Problem) -> None:
        self._counts[problem.severity] += 1
        if self._counts[problem.severity] <= MAX_LISTED:
            self._listed.append(problem)
