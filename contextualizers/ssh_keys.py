"""Who may log in by SSH with which key."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from contextualizers.default_user import DefaultUserOptions
from contextualizers.public_key import PublicKeys, check_key
from ucvm_agent.contextualize.actions import AuthorizeKeys
from ucvm_agent.contextualize.base import Action, Context, Contextualizer, Reads, System


class SSHKeysOptions(DefaultUserOptions):
    """Keys for everybody, and what decides who that is."""

    authorized_keys: Annotated[PublicKeys, Reads("ssh_authorized_keys")] = ()
    allow_platform_keys: Annotated[bool, Reads("allow_public_ssh_keys")] = True


class SSHKeys(Contextualizer[SSHKeysOptions]):
    """Gives the keys of the platform and the top-level `ssh_authorized_keys` to root and to the default user.

    Root gets them as with the amiconfig plugin `rootsshkeys` (references/amiconfig.md, section 7), unless
    `disable_root: true`; the default user gets them where there is one (see `default_user`). The keys of single
    users are the business of `users`.
    """

    name = "ssh_keys"
    options = SSHKeysOptions
    after = ("users",)
    early = True
    amiconfig = ("rootsshkeys",)

    def plan(self, options: SSHKeysOptions, context: Context, system: System) -> Iterable[Action]:
        """Yield the authorized keys of each of the two."""
        platform = context.metadata.public_keys if options.allow_platform_keys else ()
        keys = tuple(dict.fromkeys([*filter(_is_key, platform), *options.authorized_keys]))
        default = options.default_user(system)
        users = [*([] if options.disable_root else ["root"]), *([default.name] if default else [])]
        if keys:
            yield from (AuthorizeKeys(user=user, keys=keys) for user in users)


def _is_key(line: str) -> bool:
    try:
        check_key(line)
    except ValueError:
        return False
    return True
