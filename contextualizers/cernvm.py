"""The amiconfig plugin `cernvm`, as far as it is neither accounts, CernVM-FS nor the desktop.

Scripts of contexts source /etc/cernvm/site.conf, so that file is written as the original did
(references/amiconfig.md, section 8), with its values quoted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from contextualizers.accounts import ShellPath, read_cernvm_users
from contextualizers.assignments import Plain, add_block, assign, export
from ucvm_agent.contextualize.actions import EnableUnit, RunCommand
from ucvm_agent.contextualize.base import (
    Action,
    CommaList,
    Context,
    Contextualizer,
    Frequency,
    Options,
    Reads,
    System,
    demand_new_name,
)

SITE = "/etc/cernvm/site.conf"
ENVIRONMENT = "/etc/cernvm/environment.conf"
PROFILE = "/etc/profile.d/ucvm-environment.sh"

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ONLINE_KEY = re.compile(r"\s*[0-9a-fA-F]{32}\s*(:|$)")
_UNIT = re.compile(r"[A-Za-z0-9:_.@-]+")
_SUFFIX = re.compile(r"\.(service|socket|target|timer|path|mount|automount)$")


def _variables(value: Any) -> Any:
    """Read `VAR=value,VAR=value`; a value may hold `=` (the original failed on it)."""
    if not isinstance(value, str):
        return value or {}
    variables: dict[str, str] = {}
    for item in filter(None, (each.strip() for each in value.split(","))):
        name, equals, text = item.partition("=")
        if not equals or not _VARIABLE.fullmatch(name):
            raise ValueError(f"expected VAR=value between the commas, not {name!r}")
        variables[name] = text
    return variables


def _units(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if not _UNIT.fullmatch(name):
            raise ValueError(f"expected the name of a service, not {name!r}")
    return tuple(name if _SUFFIX.search(name) else f"{name}.service" for name in names)


def _user_command(value: str) -> str:
    user, _, command = value.partition(":")
    if not command.strip():
        raise ValueError("expected user:command")
    demand_new_name(user.strip())
    return value


def _online_key(value: SecretStr | None) -> SecretStr | None:
    if value is not None and not _ONLINE_KEY.match(value.get_secret_value().replace("-", "")):
        raise ValueError("expected the id of a context of CernVM Online (32 hexadecimal digits), or ID:SECRET")
    return value


class CernVMOptions(Options):
    """The options of the plugin; `contextualization_key` is followed by the agent itself."""

    organisations: Annotated[Plain, Reads("[cernvm] organisations")] = ""
    users: Annotated[SecretStr, Reads("[cernvm] users")] = SecretStr("")
    shell: Annotated[ShellPath, Reads("[cernvm] shell")] = "/bin/bash"
    services: Annotated[CommaList, AfterValidator(_units), Reads("[cernvm] services")] = ()
    environment: Annotated[dict[str, str], BeforeValidator(_variables), Reads("[cernvm] environment")] = Field(
        default_factory=dict
    )
    edition: Annotated[Plain, Reads("[cernvm] edition")] = ""
    start_xdm: Annotated[Plain, Reads("[cernvm] startxdm")] = ""
    auto_login: Annotated[Plain, Reads("[cernvm] auto_login")] = "off"
    screen_resolution: Annotated[Plain, Reads("[cernvm] screenres")] = ""
    keyboard: Annotated[Plain, Reads("[cernvm] keyboard")] = ""
    contextualization_command: Annotated[
        str, AfterValidator(_user_command), Reads("[cernvm] contextualization_command")
    ] = ""
    contextualization_key: Annotated[
        SecretStr | None, AfterValidator(_online_key), Reads("[cernvm] contextualization_key")
    ] = None


class CernVM(Contextualizer[CernVMOptions]):
    """Writes site.conf and the environment, enables services, and runs the command for each boot.

    It acts on a section `[cernvm]` whether or not `[amiconfig] plugins` names it. Our lines are a block at the end
    of the files, since scripts of a context write to them as well, and a shell takes the last assignment.
    """

    name = "cernvm"
    options = CernVMOptions
    after = ("cvmfs", "users")

    def plan(self, options: CernVMOptions, context: Context, system: System) -> Iterable[Action]:
        """Yield the files, the services and the command."""
        site = assign(_site(options)) if "[cernvm]" in context.values else ""
        yield from add_block(system, SITE, "cernvm", site)
        for path in (ENVIRONMENT, PROFILE):
            yield from add_block(system, path, "cernvm", export(options.environment))
        yield from (EnableUnit(unit=unit) for unit in options.services)
        if options.contextualization_command:
            user, _, command = options.contextualization_command.partition(":")
            yield RunCommand(argv=("runuser", "-l", user.strip(), "-c", command), frequency=Frequency.BOOT)


def _site(options: CernVMOptions) -> Iterator[tuple[str, str]]:
    """Yield the variables of site.conf; keys and passwords are no business of everybody who can read it."""
    users, _ = read_cernvm_users(options.users)
    variables = "".join(f"+{name}" for name in options.environment)
    values = {
        "CERNVM_ORGANISATION": options.organisations,
        "CERNVM_USER": users[0].name if users else "",
        "CERNVM_USER_GROUP": users[0].group if users else "",
        "CERNVM_USER_SHELL": options.shell,
        "CERNVM_SERVICES": ",".join(unit.removesuffix(".service") for unit in options.services),
        "CERNVM_ENVIRONMENT_VARS": variables,
        "CERNVM_EDITION": options.edition,
        "CERNVM_START_XDM": options.start_xdm,
        "CERNVM_AUTOLOGIN": options.auto_login,
        "CERNVM_SCREEN_RES": options.screen_resolution,
        "CERNVM_KEYBOARD": options.keyboard,
    }
    yield from ((name, value) for name, value in values.items() if value)
