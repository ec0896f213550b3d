"""What a glideinWMS pilot finds in the machine (references/ucernvm-boot.md, section 4).

Its proxy and PAC settings are read by `cvmfs`, as those of the bootloader's block are. Here its user-data are kept for
the pilot service of the image, which looks for them in /tmp: there is a link, since they hold credentials, and /tmp
is no place for those.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from pydantic import SecretStr

from ucvm_agent.contextualize.actions import EnsureUser, MakeLink, WriteFile
from ucvm_agent.contextualize.base import Action, Context, Contextualizer, Options, Reads, System

USER_DATA = "/var/lib/glideinwms/user-data"
LINK = "/tmp/glideinwms-user-data"  # noqa: S108 - where the pilot service of CernVM looks
PILOT = "glidein_pilot"
"""The account of the image that the pilot runs in, without a shell until there is one."""


class GlideinWMSOptions(Options):
    """The user-data of a pilot as they came."""

    user_data: Annotated[SecretStr, Reads("[glideinwms] user_data")] = SecretStr("")


class GlideinWMS(Contextualizer[GlideinWMSOptions]):
    """Keeps the user-data of a pilot, and gives its account a shell."""

    name = "glideinwms"
    options = GlideinWMSOptions

    def plan(self, options: GlideinWMSOptions, context: Context, system: System) -> Iterable[Action]:
        """Yield the file, the link to it, and the shell."""
        text = options.user_data.get_secret_value()
        if not text:
            return
        yield WriteFile(path=USER_DATA, content=text.encode(), mode=0o600, sensitive=True)
        yield MakeLink(path=LINK, to=USER_DATA)
        if system.user(PILOT):
            yield EnsureUser(name=PILOT, shell="/bin/bash", create_home=False)  # noqa: S604 - no subprocess
