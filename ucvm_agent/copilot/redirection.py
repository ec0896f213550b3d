"""A manager sends an agent on to another one (references/copilot-protocol.md, sections 2.10 and 6.6)."""

from __future__ import annotations

from collections.abc import Collection

from ucvm_agent.copilot.messages import Host, Redirect, read
from ucvm_agent.copilot.stanza import Envelope, Hash, bare
from ucvm_agent.errors import MessageRefused


def redirect(message: Redirect, allowed: Collection[str]) -> tuple[str, Hash]:
    """Return where to send which content, unchanged, as a new message (`Post.forward`).

    Arguments:
        allowed: the accounts (bare JIDs) of the managers that the settings name.

    Raises:
        MessageRefused: it leads to somebody else, or is nothing that an agent says to a manager. Otherwise any
            manager could speak to anybody in the name of the machine.
    """
    if bare(message.referral) not in allowed:
        raise MessageRefused("a redirection to somebody whom the settings do not name", where=message.referral[:200])
    content = {"info": message.info}
    if not isinstance(read(Envelope(content=content)), Host):
        raise MessageRefused("a redirection of what an agent does not say", where=message.referral[:200])
    return message.referral, content
