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
from ucvm_agent.contextualize.actions.account_names import (
    demand_date,
    demand_field,
    demand_new_name,
    demand_number,
)
from ucvm_agent.contextualize.actions.blocks import put_block
from ucvm_agent.contextualize.actions.machine import demand_hostname
from ucvm_agent.contextualize.actions.passwords import is_stored_form
from ucvm_agent.contextualize.actions.secret import Secret, SecretReference, is_reference, read_secret
from ucvm_agent.contextualize.options import CommaList, Nested, Options, Reads, remark, split_commas
from ucvm_agent.contextualize.settings_options import SettingsOptions, settings_options
from ucvm_agent.contextualize.system import System
from ucvm_agent.public_key import parse_public_key
from ucvm_agent.userdata.context import Context, Frequency, Problem, Script, Severity, Stage

__all__ = [
    "Action",
    "CommaList",
    "Context",
    "Contextualizer",
    "Frequency",
    "Nested",
    "Options",
    "Problem",
    "Reads",
    "Refusal",
    "Script",
    "Secret",
    "SecretReference",
    "SettingsOptions",
    "Severity",
    "Stage",
    "System",
    "demand_date",
    "demand_field",
    "demand_hostname",
    "demand_new_name",
    "demand_number",
    "is_reference",
    "is_stored_form",
    "parse_public_key",
    "put_block",
    "read_secret",
    "remark",
    "settings_options",
    "split_commas",
]


class Refusal(Exception):
    """Raised by `Contextualizer.plan`: a value cannot be used on this system.

    Arguments:
        key: the key whose value it is, as people write it (`users`, `[cernvm] proxy`).
        message: what is wrong; never holds a secret.
        hint: what to write instead.
    """

    def __init__(self, key: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.key = key
        self.message = message
        self.hint = hint


O = TypeVar("O", bound=Options)  # noqa: E741 - the one type variable of the contract


class Contextualizer(ABC, Generic[O]):
    """One concern of contextualization.

    Class attributes:
        name: unique; also the name by which settings disable it and others order themselves around it.
        options: the model of what it reads from the context, see `options.Options`.
        after, before: names of contextualizers whose actions come earlier or later; unknown names are
            ignored, and `*` stands for all others. They order only: a failed action stops just those that
            need what it provides.
        frequency: how often its actions are done; an action may overrule it.
        early: its actions need nothing but local file systems: no network, no service, no account that is made by
            others. They may be done before the network is set up, where the user-data are local.
        amiconfig: names of the amiconfig plugins that it stands for, so that `[amiconfig] disabled_plugins`
            switches it off (references/amiconfig.md, section 4).
    """

    name: ClassVar[str]
    options: ClassVar[type[Options]]
    after: ClassVar[tuple[str, ...]] = ()
    before: ClassVar[tuple[str, ...]] = ()
    frequency: ClassVar[Frequency] = Frequency.INSTANCE
    early: ClassVar[bool] = False
    amiconfig: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def plan(self, options: O, context: Context, system: System) -> Iterable[Action]:
        """Yield what has to be so for `options` to be fulfilled, in order.

        Pure: it reads `system` only, and yields the same actions for the same arguments. They are done one
        after another, those of different contextualizers at the same time. A value that is wrong in itself
        is refused by the options model, which gives the problem its place; `Refusal` refuses one that only
        the system shows to be wrong, and leaves what was already yielded in the plan.
        """

    def remarks(self, options: O, context: Context, system: System) -> Iterable[Problem]:
        """Return what the writer of the context should know beside the plan, made with `remark`.

        Pure, as `plan` is. For what is accepted and has no effect, or another one than its writer may think.
        """
        return ()
