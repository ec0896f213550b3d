"""What contexts say about users, groups and passwords: the models of cloud-config's keys and of `[cernvm] users`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, field_validator

from contextualizers.public_key import PublicKeys
from ucvm_agent.contextualize.base import (
    Nested,
    Secret,
    SecretReference,
    demand_date,
    demand_field,
    demand_new_name,
    demand_number,
    is_reference,
    read_secret,
    split_commas,
)


def _name(name: str) -> str:
    demand_new_name(name)
    return name


def _field(text: str) -> str:
    demand_field(text, "value")
    return text


def _number(number: int | None) -> int | None:
    demand_number(number, "uid")
    return number


def _absolute(text: str) -> str:
    if text and (not text.startswith("/") or ".." in text.split("/")):
        raise ValueError("expected an absolute path without `..`")
    return _field(text)


def _shell(text: str) -> str:
    if any(character.isspace() for character in text):
        raise ValueError("expected the path of a shell, without blanks")
    return _absolute(text)


def _date(text: str) -> str:
    if text:
        demand_date(text)
    return text


AccountName = Annotated[str, AfterValidator(_name)]
AbsolutePath = Annotated[str, AfterValidator(_absolute)]
ShellPath = Annotated[str, AfterValidator(_shell)]


AccountNames = Annotated[tuple[AccountName, ...], BeforeValidator(split_commas)]
"""A list of names; a text has commas between them."""


def _rules(value: object) -> object:
    if value is None or value is False:
        return []
    return [value] if isinstance(value, str | bool) else value


def _rule(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise ValueError("expected a rule of sudoers on one line, such as `ALL=(ALL) NOPASSWD:ALL`")
    return text.strip()


class User(Nested):
    """One item of `users`; the name `default` stands for the distribution's default user."""

    name: AccountName
    gecos: Annotated[str, AfterValidator(_field)] = ""
    uid: Annotated[int | None, AfterValidator(_number)] = None
    primary_group: AccountName | None = None
    groups: AccountNames = ()
    homedir: AbsolutePath = ""
    no_create_home: bool = False
    no_user_group: bool = False
    no_log_init: bool = False
    create_groups: bool = True
    shell: ShellPath = ""
    passwd: Secret | None = None
    hashed_passwd: Secret | None = None
    plain_text_passwd: Secret | None = None
    lock_passwd: bool = True
    sudo: Annotated[tuple[Annotated[str, AfterValidator(_rule)], ...], BeforeValidator(_rules)] = ()
    ssh_authorized_keys: PublicKeys = ()
    ssh_import_id: Any = None
    ssh_redirect_user: Any = None
    system: bool = False
    expiredate: Annotated[str, AfterValidator(_date)] = ""
    inactive: int | None = None
    doas: Any = None
    selinux_user: Any = None
    snapuser: Any = None

    @field_validator("gecos", "homedir", "shell", "expiredate", mode="before")
    @classmethod
    def _empty(cls, value: Any) -> Any:
        return "" if value is None else value

    @field_validator("inactive", mode="before")
    @classmethod
    def _days(cls, value: Any) -> Any:
        # cloud-init's examples write `inactive: true`, its schema a number of days.
        return 0 if value is True else None if value is False else value

    @property
    def main_group(self) -> str:
        """The primary group; empty for one of the user's own name."""
        return self.primary_group or ("users" if self.no_user_group else "")

    @property
    def password(self) -> SecretStr | SecretReference | None:
        """What is given as password, the surest form first."""
        return self.hashed_passwd or self.passwd or self.plain_text_passwd


def _user(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


OneUser = Annotated[User, BeforeValidator(_user)]


def _group(value: object) -> object:
    return {value: ()} if isinstance(value, str) else value


Group = Annotated[dict[AccountName, AccountNames], BeforeValidator(_group)]
"""A name, or a mapping from names to members."""


def listed(value: object) -> object:
    """Take nothing for an empty list, a text for names with commas, and a mapping for its only item."""
    if isinstance(value, dict):
        return [value]
    return split_commas(value)


class Password(Nested):
    """A password of `chpasswd`; RANDOM is accepted, and then reported."""

    name: AccountName
    password: Secret | None = None
    type: Literal["hash", "text", "RANDOM"] = "hash"

    @property
    def random(self) -> bool:
        """Whether a random password is asked for."""
        if isinstance(self.password, SecretStr) and self.password.get_secret_value() in ("R", "RANDOM"):
            return True
        return self.type == "RANDOM" or self.password is None


def _password_line(value: object) -> object:
    """Take a line `user:password` apart; the message never repeats it."""
    if not isinstance(value, str):
        return value
    name, colon, password = value.partition(":")
    if not colon:
        raise ValueError("expected user:password")
    return {"name": name.strip(), "password": password}


def _lines(value: object) -> object:
    return [line for line in value.splitlines() if line.strip()] if isinstance(value, str) else value or []


class Passwords(Nested):
    """`chpasswd`: passwords for users that are there already, or made by the same context."""

    expire: bool = True
    lines: Annotated[tuple[Annotated[Password, BeforeValidator(_password_line)], ...], BeforeValidator(_lines)] = Field(
        (), alias="list"
    )
    users: tuple[Password, ...] = ()


@dataclass(frozen=True, slots=True)
class CernVMUser:
    """One item of `[cernvm] users`; without a password nobody can log in with one."""

    name: str
    group: str
    password: SecretStr | SecretReference | None


def read_cernvm_users(text: SecretStr) -> tuple[list[CernVMUser], list[str]]:
    """Read `user:group:password,…` (references/amiconfig.md, section 8); also return what is wrong, for people."""
    users: list[CernVMUser] = []
    mistakes: list[str] = []
    for number, item in enumerate(text.get_secret_value().split(","), start=1):
        if not item.strip():
            continue
        name, group, password = [*(step.strip() for step in item.split(":", 2)), "", ""][:3]
        if item.count(":") != 2 and not is_reference(password):
            mistakes.append(f"user {number}: expected user:group:password with exactly two colons")
            continue
        try:
            users.append(CernVMUser(_name(name), _name(group or name), read_secret(password) if password else None))
        except ValueError as error:
            mistakes.append(f"user {number}: {error}")
    return users, mistakes
