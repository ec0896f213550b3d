"""The contract of a contextualizer: everything that a site engineer needs to import.

A contextualizer reads its options from the context, looks at the system, and yields actions. It changes
nothing itself, so that the dry run and the real run are the same plan, and so that it is tested without a VM:

    class Motd(Contextualizer[MotdOptions]):
        name = "motd"
        options = MotdOptions

        def plan(self, options, context, system):
            yield WriteFile(path="/etc/motd", content=options.text.encode())
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar, Generic, TypeVar

from ucvm_agent.contextualize.actions import Action
from ucvm_agent.contextualize.options import Options, Reads
from ucvm_agent.contextualize.system import System
from ucvm_agent.userdata.context import Context, Frequency

__all__ = ["Action", "Context", "Contextualizer", "Frequency", "Options", "Reads", "System"]

O = TypeVar("O", bound=Options)  # noqa: E741 - the one type variable of the contract


class Contextualizer(ABC, Generic[O]):
    """One concern of contextualization.

    Class attributes:
        name: unique; also the name by which settings disable it and others order themselves around it.
        options: the model of what it reads from the context, see `options.Options`.
        after, before: names of contextualizers whose actions come earlier or later; unknown names are
            ignored. They order only: a failed action stops just those that need what it provides.
        frequency: how often its actions are done; an action may overrule it.
    """

    name: ClassVar[str]
    options: ClassVar[type[Options]]
    after: ClassVar[tuple[str, ...]] = ()
    before: ClassVar[tuple[str, ...]] = ()
    frequency: ClassVar[Frequency] = Frequency.INSTANCE

    @abstractmethod
    def plan(self, options: O, context: Context, system: System) -> Iterable[Action]:
        """Yield what has to be so for `options` to be fulfilled, in order.

        Pure: it reads `system` only, and yields the same actions for the same arguments. To refuse a value
        it raises `ValueError` or, with a place, yields nothing for it and lets its options model say why.
        """
