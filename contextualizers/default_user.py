"""The default user: the account of cloud images that people log in to when the context names none.

cloud-init always makes one. On µCernVM root is the usual account, so here it is made only where the context asks
for it: by `default` in `users`, by `user`, by a `password` (which is its password), or by `disable_root: true`
without `users` (or nobody could log in at all).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated

from pydantic import BeforeValidator

from contextualizers.accounts import OneUser, User, listed
from ucvm_agent.contextualize.base import Options, Reads, Secret, System

_NAMES: Mapping[str, str] = {
    "amzn": "ec2-user",
    "arch": "arch",
    "rhel": "cloud-user",
    **{name: name for name in ("almalinux", "centos", "debian", "fedora", "opensuse", "rocky", "ubuntu")},
}
"""cloud-init's names, by `ID` of os-release."""

_GROUPS = ("adm", "audio", "cdrom", "dialout", "plugdev", "sudo", "systemd-journal", "video", "wheel")
"""Groups that it joins where they exist."""


class DefaultUserOptions(Options):
    """The keys that decide whether there is a default user, and what it is like."""

    users: Annotated[tuple[OneUser, ...] | None, BeforeValidator(listed), Reads("users")] = None
    user: Annotated[OneUser | None, Reads("user")] = None
    password: Annotated[Secret | None, Reads("password")] = None
    disable_root: Annotated[bool, Reads("disable_root")] = False

    def default_user(self, system: System, made: Collection[str] = ()) -> User | None:
        """Return the default user of this system with what the context changes in it; None if nobody asks for it.

        Arguments:
            made: groups that the context makes, and that exist the next time that this is asked.
        """
        changes = [each for each in (self.user, *(self.users or ())) if each and self._is_default(each)]
        implied = self.users is None and (self.password is not None or self.disable_root)
        if not changes and not implied:
            return None
        user = User.model_validate(
            {
                "name": _NAMES.get(system.facts.os_id, "cernvm"),
                "gecos": "Default user",
                "groups": tuple(group for group in _GROUPS if group in made or system.group(group)),
                "shell": "/bin/bash",
                "sudo": "ALL=(ALL) NOPASSWD:ALL",
            }
        )
        for change in changes:
            fields = change.model_fields_set - ({"name"} if change.name == "default" else set())
            user = user.model_copy(update={field: getattr(change, field) for field in fields})
        return user

    def _is_default(self, user: User) -> bool:
        """Say whether an item is about the default user: `user` always, one of `users` by the name `default`."""
        return user is self.user or user.name == "default"
