"""Groups, users, their keys, passwords and sudo rules: cloud-config's keys and `[cernvm] users`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from pydantic import BeforeValidator, SecretStr

from contextualizers.accounts import (
    CernVMUser,
    Group,
    Password,
    Passwords,
    ShellPath,
    User,
    listed,
    read_cernvm_users,
)
from contextualizers.default_user import DefaultUserOptions
from ucvm_agent.contextualize.actions import AuthorizeKeys, EnsureGroup, EnsureUser, RunCommand, WriteFile
from ucvm_agent.contextualize.base import (
    Action,
    Context,
    Contextualizer,
    Problem,
    Reads,
    SecretReference,
    Severity,
    System,
    is_stored_form,
    remark,
)

SUDOERS = "/etc/sudoers.d/90-ucvm-users"
ADMINISTRATORS = ("wheel", "sudo", "docker")
"""Groups that the first user of `[cernvm] users` joins where they exist (references/amiconfig.md, section 8)."""


class UsersOptions(DefaultUserOptions):
    """cloud-init's keys about accounts, and those of the amiconfig plugin `cernvm`."""

    groups: Annotated[tuple[Group, ...], BeforeValidator(listed), Reads("groups")] = ()
    chpasswd: Annotated[Passwords, Reads("chpasswd")] = Passwords()
    cernvm_users: Annotated[SecretStr, Reads("[cernvm] users")] = SecretStr("")
    cernvm_shell: Annotated[ShellPath, Reads("[cernvm] shell")] = ""


@dataclass(frozen=True, slots=True)
class Account:
    """An account that the context wants: what it is like, and the password that `chpasswd` has for it."""

    user: User
    password: SecretStr | SecretReference | None = None


class Users(Contextualizer[UsersOptions]):
    """Makes groups and users as cloud-init does, with the same defaults (no password unless `lock_passwd: false`).

    Keys for everybody (`ssh_authorized_keys` at the top level, those of the platform) are the business of
    `ssh_keys`; here are those of single users.
    """

    name = "users"
    options = UsersOptions

    def plan(self, options: UsersOptions, context: Context, system: System) -> Iterable[Action]:
        """Yield groups, users with their keys, sudo rules, and passwords of users that are there already."""
        accounts = _accounts(options, system)
        yield from _groups(options, accounts)
        for account in accounts.values():
            yield _ensure(account)
            if account.user.ssh_authorized_keys:
                yield AuthorizeKeys(user=account.user.name, keys=account.user.ssh_authorized_keys)
        yield from _sudoers(account.user for account in accounts.values())
        passwords = _passwords(options, system)
        for name, password in passwords.items():
            if name not in accounts and system.user(name):
                yield EnsureUser(name=name, password=password)
        if options.chpasswd.expire and system.program("chage"):
            # `--lastday 0` makes the user choose another password at the first login, as cloud-init does by default.
            yield from (
                RunCommand(argv=("chage", "--lastday", "0", name))
                for name in passwords
                if name in accounts or system.user(name)
            )

    def remarks(self, options: UsersOptions, context: Context, system: System) -> Iterable[Problem]:
        """Warn of passwords that do not work as they look, and of keys of users without effect."""
        for user in (*(options.users or ()), *([options.user] if options.user else [])):
            yield from _user_remarks(user, context)
        yield from _contradictions(options, context, system)
        yield from _password_remarks(options, context, system)
        yield from _cernvm_remarks(options, context)


def _accounts(options: UsersOptions, system: System) -> dict[str, Account]:
    """Return the accounts by name, in the order in which they are made; of two with a name cloud-config's counts."""
    cernvm_users = read_cernvm_users(options.cernvm_users)[0]
    made = {*_made(options), *(user.group for user in cernvm_users)}
    wanted = [_cernvm_user(each, options, system, made) for each in cernvm_users]
    users = {user.name: user for user in wanted}
    for first in wanted[:1]:
        groups = tuple(group for group in ADMINISTRATORS if group in made or system.group(group))
        users[first.name] = first.model_copy(update={"groups": (*first.groups, *groups)})
    if default := options.default_user(system, made):
        users[default.name] = default
    refused = {user.origin for user, _ in _uids_taken(options)}
    users |= {user.name: user for user in _named(options) if user.origin not in refused}
    passwords = _passwords(options, system)
    return {name: Account(user, passwords.get(name)) for name, user in users.items()}


def _named(options: UsersOptions) -> Iterator[User]:
    """Yield the users of cloud-config that have a name of their own, as they are written."""
    return (user for user in options.users or () if user.name != "default")


def _uids_taken(options: UsersOptions) -> Iterator[tuple[User, User]]:
    """Yield each user whose uid another one of the same context has, and the one that counts."""
    owners: dict[int, User] = {}
    for user in {user.name: user for user in _named(options)}.values():
        if user.uid is not None and (owner := owners.setdefault(user.uid, user)) is not user:
            yield user, owner


def _made(options: UsersOptions) -> Iterator[str]:
    """Yield the groups that the keys of cloud-config make.

    Who joins a group where it exists joins those as well: at the next boot they do exist.
    """
    for group in options.groups:
        yield from group
    for user in (*(options.users or ()), *([options.user] if options.user else [])):
        yield user.main_group or user.name
        yield from user.groups if user.create_groups else ()


def _cernvm_user(user: CernVMUser, options: UsersOptions, system: System, made: Collection[str]) -> User:
    has_users = "users" in made or system.group("users")
    supplementary = ("users",) if user.group != user.name and has_users else ()
    return User(
        name=user.name,
        primary_group=user.group if user.group != user.name else None,
        groups=supplementary,
        shell=options.cernvm_shell or "/bin/bash",
        plain_text_passwd=user.password,
        lock_passwd=user.password is None,
    )


def _passwords(options: UsersOptions, system: System) -> dict[str, SecretStr | SecretReference]:
    """Return the passwords of `password` and `chpasswd` by user, later ones first."""
    given = {each.name: each.password for each in _entries(options) if each.password and not each.random}
    if options.password and (default := options.default_user(system)):
        given.setdefault(default.name, options.password)
    return given


def _entries(options: UsersOptions) -> Iterator[Password]:
    yield from options.chpasswd.lines
    yield from options.chpasswd.users


def _groups(options: UsersOptions, accounts: dict[str, Account]) -> Iterator[Action]:
    members: dict[str, tuple[str, ...]] = {}
    for group in options.groups:
        for name, names in group.items():
            members[name] = (*members.get(name, ()), *names)
    for user in (account.user for account in accounts.values()):
        wanted = [user.main_group, *(user.groups if user.create_groups else ())]
        members |= {name: () for name in wanted if name and name not in members}
    yield from (EnsureGroup(name=name, members=names) for name, names in members.items())


def _ensure(account: Account) -> EnsureUser:
    user = account.user
    return EnsureUser(
        name=user.name,
        uid=user.uid,
        gecos=user.gecos,
        home=user.homedir,
        shell=user.shell,
        primary_group=user.main_group,
        groups=user.groups,
        password=account.password or user.password,
        lock_password=user.lock_passwd and account.password is None,
        system=user.system,
        create_home=not (user.no_create_home or user.system),
        expire_date=user.expiredate,
        inactive_days=user.inactive,
    )


def _sudoers(users: Iterable[User]) -> Iterator[Action]:
    rules = "".join(f"{user.name} {rule}\n" for user in users for rule in user.sudo)
    if rules:
        content = f"# Written by ucvm-agent from the user-data.\n{rules}".encode()
        yield WriteFile(path=SUDOERS, content=content, mode=0o440, check=("visudo", "-cf", "{}"))


WITHOUT_EFFECT = {
    "doas": "write a rule for sudo instead",
    "selinux_user": "run `semanage login` in runcmd",
    "snapuser": "",
    "ssh_import_id": "write the keys into ssh_authorized_keys",
    "ssh_redirect_user": "",
}
"""Keys of a user that are accepted, with what to do instead."""


def _user_remarks(user: User, context: Context) -> Iterator[Problem]:
    for field, hint in WITHOUT_EFFECT.items():
        if getattr(user, field):
            yield remark(context, (*user.origin, field), "has no effect", hint)
    for field in ("passwd", "hashed_passwd"):
        password = getattr(user, field)
        if isinstance(password, SecretStr) and password and not is_stored_form(password.get_secret_value()):
            message = "is no password hash; taken for the password itself"
            yield remark(context, (*user.origin, field), message, "write plain_text_passwd, or a hash (mkpasswd)")
    if user.password and user.lock_passwd:
        message = f"the password of {user.name} is set but locked, since lock_passwd is true by default"
        yield remark(context, user.origin, message, "write lock_passwd: false")
    if user.expiredate and user.expiredate < datetime.now(UTC).date().isoformat():
        message = f"is past: nobody can log in as {user.name}"
        yield remark(context, (*user.origin, "expiredate"), message, "write a day to come, or leave it out")


def _contradictions(options: UsersOptions, context: Context, system: System) -> Iterator[Problem]:
    """Tell which users are written twice, or have a uid that they cannot get."""
    written: dict[str, User] = {}
    for user in _named(options):
        if earlier := written.get(user.name):
            message = f"{user.name} is written again; line {context.place(earlier.origin).line} has no effect"
            yield remark(context, (*user.origin, "name"), message, "write all of a user in one place")
        written[user.name] = user
        there = system.user(user.name)
        if there and user.uid not in (None, there.uid):
            message = f"has no effect: {user.name} is there, with the uid {there.uid}"
            yield remark(context, (*user.origin, "uid"), message, "leave it out, or use usermod in runcmd")
    for user, owner in _uids_taken(options):
        message = f"{user.uid} is the uid of {owner.name}, by line {context.place(owner.origin).line}"
        yield remark(context, (*user.origin, "uid"), message, "choose another uid, or none", Severity.ERROR)


def _password_remarks(options: UsersOptions, context: Context, system: System) -> Iterator[Problem]:
    accounts = _accounts(options, system)
    for entry in _entries(options):
        if entry.random:
            message = f"no random password is made for {entry.name}, since nobody could read it"
            yield remark(context, entry.origin, message, "log in with a key, or write a password hash")
        elif entry.name not in accounts and not system.user(entry.name):
            hint = "make it with users:"
            yield remark(context, entry.origin, f"there is no user {entry.name}", hint, Severity.ERROR)
    if options.password and not options.default_user(system):
        message = "has no effect: the context asks for no default user"
        yield remark(context, "password", message, "write `default` into users, or the password into chpasswd")
    if _passwords(options, system) and options.chpasswd.expire and not system.program("chage"):
        message = "passwords cannot be made to expire at the first login, since there is no program chage"
        yield remark(context, "chpasswd", message, "write expire: false")


def _cernvm_remarks(options: UsersOptions, context: Context) -> Iterator[Problem]:
    users, mistakes = read_cernvm_users(options.cernvm_users)
    for mistake in mistakes:
        yield remark(context, "[cernvm] users", mistake, severity=Severity.ERROR)
    for user in users:
        if user.password is None:
            message = f"{user.name} has no password and is locked (the original made up one that nobody was told)"
            yield remark(context, "[cernvm] users", message, "write a password or its hash, or log in with a key")
