"""Who may speak for a machine: the account that did so first, and no other."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from ucvm_agent.controller.ledger.base import Ledger
from ucvm_agent.copilot.complaints import Complaints
from ucvm_agent.copilot.stanza import bare

NAME_LENGTH = 253
"""Most characters of a machine's names that are kept: those of a host name."""

HINT = "ucvm-controller forget-vm lets it change its account"

_MACHINE_ID = re.compile(r"[!-~]{1,128}")


class Claims:
    """The one check of whatever an account says of a machine, be it an event or a question.

    The account is what the XMPP server has authenticated; everything else in a message is only said.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._complaints = Complaints()

    async def check(self, sender: str, machine_id: str, what: str, *, host: str = "", instance_id: str = "") -> bool:
        """Say whether the sender may speak for a machine; one that nobody has spoken for is its account's from now on.

        Arguments:
            sender: full JID.
            machine_id: empty if it names no machine, as original agents do: then it speaks for its account only.
            what: it says, for the log.
            host, instance_id: what it says that the machine is called.

        Raises:
            LedgerError: nobody can tell now.
        """
        if not machine_id:
            return True
        if not _MACHINE_ID.fullmatch(machine_id):
            self._complaints.write(f"{what} of a machine without a sound id is dropped", bare(sender), sender=sender)
            return False
        names = {"host": host[:NAME_LENGTH], "instance_id": instance_id[:NAME_LENGTH]}
        own = await self._ledger.claim(machine_id, sender, **names, now=datetime.now(UTC))
        if not own:
            self.refused(sender, machine_id, what)
        return own

    def refused(self, sender: str, machine_id: str, what: str) -> None:
        """Tell the operator that an account has spoken for a machine of another one."""
        event = f"{what} of another account's machine is dropped"
        self._complaints.write(event, bare(sender), sender=sender, machine=machine_id, hint=HINT)
