"""Users, groups, passwords and sudo rules."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from contextualizers.users import SUDOERS, Users
from tests.contextualizers.ask import KEY, OTHER_KEY, ask, furnish
from ucvm_agent.contextualize.actions import AuthorizeKeys, EnsureGroup, EnsureUser, RunCommand, WriteFile
from ucvm_agent.contextualize.actions.passwords import to_stored_form
from ucvm_agent.contextualize.system import System

HASH = "$6$salt$0123456789abcdefghijklmnopqrstuvwxyz"


def sudoers(rules: str) -> WriteFile:
    """Return the action that writes these rules."""
    content = f"# Written by ucvm-agent from the user-data.\n{rules}".encode()
    return WriteFile(path=SUDOERS, content=content, mode=0o440, check=("visudo", "-cf", "{}"))


def test_a_user_with_everything_is_made_with_everything(system: System) -> None:
    """Each key of cloud-config that has an effect has it."""
    answer = ask(
        Users(),
        f"""
        #cloud-config
        groups: [science, {{physics: [alice, root]}}]
        users:
          - name: alice
            gecos: Alice A.
            uid: 2000
            primary_group: physics
            groups: users, docker
            homedir: /srv/alice
            shell: /bin/zsh
            passwd: {HASH}
            lock_passwd: false
            sudo: ["ALL=(ALL) NOPASSWD:ALL", "ALL=(www) ALL"]
            ssh_authorized_keys:
              - {KEY}
            expiredate: 2030-12-31
            inactive: 5
        """,
        system,
    )
    assert answer.actions == [
        EnsureGroup(name="science"),
        EnsureGroup(name="physics", members=("alice", "root")),
        EnsureGroup(name="users"),
        EnsureGroup(name="docker"),
        EnsureUser(
            name="alice",
            uid=2000,
            gecos="Alice A.",
            home="/srv/alice",
            shell="/bin/zsh",
            primary_group="physics",
            groups=("users", "docker"),
            password=SecretStr(HASH),
            expire_date="2030-12-31",
            inactive_days=5,
        ),
        AuthorizeKeys(user="alice", keys=(KEY,)),
        sudoers("alice ALL=(ALL) NOPASSWD:ALL\nalice ALL=(www) ALL\n"),
    ]
    assert answer.texts == []


def test_a_bare_name_makes_a_locked_user(system: System) -> None:
    """As in cloud-init nobody can log in with a password unless the context says so."""
    answer = ask(Users(), "#cloud-config\nusers: [bob]\n", system)
    assert answer.actions == [EnsureUser(name="bob", lock_password=True)]


def test_system_users_have_no_home_and_dashes_count_as_underscores(system: System) -> None:
    """cloud-init's old spelling of keys works."""
    answer = ask(
        Users(),
        """
        #cloud-config
        users:
          - {name: cache, system: true}
          - {name: bob, no-create-home: true, lock-passwd: false, no-user-group: true}
        """,
        system,
    )
    assert answer.actions == [
        EnsureGroup(name="users"),
        EnsureUser(name="cache", system=True, create_home=False, lock_password=True),
        EnsureUser(name="bob", create_home=False, primary_group="users"),
    ]
    assert answer.texts == []


@pytest.mark.parametrize(
    ("release", "name"), [("debian", "debian"), ("almalinux", "almalinux"), ("rhel", "cloud-user"), ("sl", "cernvm")]
)
def test_the_default_user_has_the_name_that_people_know(release: str, name: str, tmp_path: Path) -> None:
    """It is the one of the distribution's cloud image, in those of its groups that exist, with sudo."""
    system = furnish(tmp_path, {"/etc/os-release": f'ID="{release}"\n', "/etc/group": "wheel:x:10:\nadm:x:4:\n"})
    answer = ask(Users(), "#cloud-config\nusers: [default]\n", system)
    assert answer.actions == [
        EnsureGroup(name="adm"),
        EnsureGroup(name="wheel"),
        EnsureUser(name=name, gecos="Default user", shell="/bin/bash", groups=("adm", "wheel"), lock_password=True),
        sudoers(f"{name} ALL=(ALL) NOPASSWD:ALL\n"),
    ]


@pytest.mark.parametrize(
    "keys",
    [
        "users: [default, {name: alice, groups: [wheel]}]",
        "users: [default]\ngroups: [wheel]",
        "users: [default, {name: wheel}]",
        "users: [default, {name: alice, primary_group: wheel}]",
    ],
)
def test_the_default_user_joins_groups_that_the_context_makes(keys: str, tmp_path: Path) -> None:
    """So what is wanted is the same before they are there and afterwards."""
    first = ask(Users(), f"#cloud-config\n{keys}\n", furnish(tmp_path, {"/etc/group": "root:x:0:\n"}))
    again = ask(Users(), f"#cloud-config\n{keys}\n", furnish(tmp_path, {"/etc/group": "root:x:0:\nwheel:x:10:\n"}))
    assert first.actions == again.actions
    (default,) = [action for action in first.actions if isinstance(action, EnsureUser) and action.name == "cernvm"]
    assert default.groups == ("wheel",)


def test_administrators_of_cernvm_join_groups_that_the_context_makes(tmp_path: Path) -> None:
    """As with the default user."""
    text = "[cernvm]\nusers=ada:docker:secret,eve:eve:secret\n\n#cloud-config\ngroups: [wheel, users]\n"
    first = ask(Users(), text, furnish(tmp_path, {"/etc/group": "root:x:0:\n"}))
    made = "root:x:0:\nwheel:x:10:\nusers:x:100:\ndocker:x:101:\n"
    again = ask(Users(), text, furnish(tmp_path, {"/etc/group": made}))
    assert first.actions == again.actions
    ada, eve = [action.groups for action in first.actions if isinstance(action, EnsureUser)]
    assert (ada, eve) == (("users", "wheel", "docker"), ())


def test_what_was_meant_is_told(system: System) -> None:
    """By a key that is needed and misspelt, and by a word that YAML takes for a truth value."""
    answer = ask(Users(), "#cloud-config\nusers:\n- {nme: bob}\n- {name: eve, gecos: yes}\n", system)
    assert [(problem.place.line, problem.hint) for problem in answer.problems] == [
        (3, "did you mean name by nme?"),
        (4, "YAML takes this word for a truth value: put it in quotes"),
    ]


@pytest.mark.parametrize(
    "keys", ["user: {name: me, sudo: false, groups: []}", "users: [{name: default, sudo: false, groups: []}]\nuser: me"]
)
def test_the_default_user_can_be_changed(keys: str, system: System) -> None:
    """`user`, and an item of `users` with the name `default`, change what they give and leave the rest."""
    answer = ask(Users(), f"#cloud-config\n{keys}\n", system)
    assert answer.actions == [EnsureUser(name="me", gecos="Default user", shell="/bin/bash", lock_password=True)]


def test_a_password_without_users_is_the_default_user_s(system: System) -> None:
    """`password` implies the default user, as long as `users` does not say otherwise."""
    answer = ask(Users(), "#cloud-config\npassword: geheim\nchpasswd: {expire: false}\n", system)
    (user,) = (action for action in answer.actions if isinstance(action, EnsureUser))
    assert (user.name, user.password, user.lock_password) == ("debian", SecretStr("geheim"), False)

    answer = ask(Users(), "#cloud-config\npassword: geheim\nusers: []\n", system)
    assert answer.actions == []
    assert answer.texts == ["warning 2: password: has no effect: the context asks for no default user"]


def test_chpasswd_reaches_new_and_old_users(tmp_path: Path, system: System) -> None:
    """Its passwords unlock, and have to be changed at the first login by default; each user is touched once."""
    furnish(tmp_path, {"/usr/bin/chage": ""})
    answer = ask(
        Users(),
        f"""
        #cloud-config
        users: [alice]
        chpasswd:
          list: |
            alice:one:two
            root:{HASH}
          users:
            - {{name: nobody-knows, password: x, type: text}}
            - {{name: alice, type: RANDOM}}
        """,
        system,
    )
    assert answer.actions == [
        EnsureUser(name="alice", password=SecretStr("one:two")),
        EnsureUser(name="root", password=SecretStr(HASH)),
        RunCommand(argv=("chage", "--lastday", "0", "alice")),
        RunCommand(argv=("chage", "--lastday", "0", "root")),
    ]
    assert answer.texts == [
        "error 8: chpasswd.users[1]: there is no user nobody-knows",
        "warning 9: chpasswd.users[2]: no random password is made for alice, since nobody could read it",
    ]


def test_the_users_of_cernvm_are_made_as_the_original_did(system: System) -> None:
    """The first one administrates; a group of another name is the primary one; an empty password locks."""
    answer = ask(Users(), "[cernvm]\nusers=atlas:atlas:secret,bob:physics:$6$a$b,eve::\nshell=/bin/zsh\n", system)
    assert answer.actions == [
        EnsureGroup(name="sudo"),
        EnsureGroup(name="physics"),
        EnsureGroup(name="users"),
        EnsureUser(name="atlas", shell="/bin/zsh", groups=("sudo",), password=SecretStr("secret")),
        EnsureUser(
            name="bob", shell="/bin/zsh", primary_group="physics", groups=("users",), password=SecretStr("$6$a$b")
        ),
        EnsureUser(name="eve", shell="/bin/zsh", lock_password=True),
    ]
    assert answer.texts == [
        "warning 2: [cernvm] users: eve has no password and is locked (the original made up one that nobody was told)"
    ]


def test_a_comment_is_no_part_of_a_shell(system: System) -> None:
    """Amiconfig cut it off; here it would become the shell of an account that nobody can log in to."""
    answer = ask(Users(), "[cernvm]\nusers=bob:bob:ok\nshell=/bin/sh ; as ever\n", system)
    assert "error 3: [cernvm] shell: expected the path of a shell, without blanks" in answer.texts
    assert [action.shell for action in answer.actions if isinstance(action, EnsureUser)] == ["/bin/bash"]


def test_one_wrong_cernvm_user_does_not_take_the_others_along(system: System) -> None:
    """Exactly two colons are needed; the message does not repeat what may be a password."""
    answer = ask(Users(), "[cernvm]\nusers=alice:geheim,bob:bob:ok\n", system)
    assert [action.target for action in answer.actions if isinstance(action, EnsureUser)] == ["bob"]
    assert answer.texts == ["error 2: [cernvm] users: user 1: expected user:group:password with exactly two colons"]


def test_mistakes_have_the_place_of_the_user_and_leave_the_others(system: System) -> None:
    """Each mistake in a list is told by its own number and line, also after others were left out."""
    answer = ask(
        Users(),
        f"""
        #cloud-config
        users:
          - name: bad name
          - name: alice
            sudo: ["ALL=(ALL) ALL", "two\\nlines"]
            ssh_authorized_keys: [{KEY}, ssh-ed25519 AAAA, "{OTHER_KEY}"]
          - {{name: bob, uid: many}}
          - {{name: eve, pasword: geheim, doas: x, passwd: plain}}
        """,
        system,
    )
    assert [action.target for action in answer.actions] == ["alice", "alice", "eve", SUDOERS]
    assert AuthorizeKeys(user="alice", keys=(KEY, OTHER_KEY)) in answer.actions
    assert [text.partition(" such as")[0] for text in answer.texts] == [
        "error 3: users[1].name: expected an account name: letters, digits, `_`, `.` and `-`, at most 32,"
        " `-` not first, not a number",
        "error 5: users[2].sudo[2]: expected a rule of sudoers on one line,",
        "error 6: users[2].ssh_authorized_keys[2]: expected a public key, and what this ssh-ed25519 holds is cut off"
        " or of another type",
        "error 7: users[3].uid: expected a whole number",
        "warning 8: users[4]: the password of eve is set but locked, since lock_passwd is true by default",
        "warning 8: users[4].pasword: unknown key",
        "warning 8: users[4].doas: has no effect",
        "warning 8: users[4].passwd: is no password hash; taken for the password itself",
    ]


def test_users_that_contradict_each_other_or_the_system(system: System) -> None:
    """What would fail, or silently be otherwise than it is written, has its line."""
    answer = ask(
        Users(),
        """
        #cloud-config
        users:
          - {name: alice, uid: 2000}
          - {name: bob, uid: 2000}
          - {name: alice, uid: 2001}
          - {name: eve, uid: 2000, expiredate: 2012-09-01}
          - {name: root, uid: 7}
        """,
        system,
    )
    assert [action.target for action in answer.actions] == ["alice", "bob", "root"]
    assert answer.texts == [
        "warning 5: users[3].name: alice is written again; line 3 has no effect",
        "error 6: users[4].uid: 2000 is the uid of bob, by line 4",
        "warning 6: users[4].expiredate: is past: nobody can log in as eve",
        "warning 7: users[5].uid: has no effect: root is there, with the uid 0",
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        "uid: 65535",
        "uid: -1",
        "expiredate: 2030-02-31",
        "gecos: 'a:b'",
        "groups: 'a b'",
        "primary_group: '7'",
        "sudo: yes",
    ],
)
def test_what_no_account_file_may_hold_has_its_line(wrong: str, system: System) -> None:
    """The user is left out, and the others are made."""
    answer = ask(Users(), f"#cloud-config\nusers:\n  - name: bob\n    {wrong}\n  - eve\n", system)
    assert [text.partition(":")[0] for text in answer.texts] == ["error 4"]
    assert [action.target for action in answer.actions] == ["eve"]


@pytest.mark.parametrize("stored", ["$6$salt$hash", "$sha1$4$salt$hash", "$5$rounds=9$salt$hash", "!!", "*"])
def test_what_shadow_may_hold_is_stored_as_it_is(stored: str, system: System) -> None:
    """A hash or a sign that there is no password is not taken for the password, and nobody says that it is."""
    text = f"#cloud-config\nusers: [{{name: a, passwd: '{stored}', lock_passwd: false}}]\n"
    answer = ask(Users(), text, system)
    assert answer.texts == []
    (user,) = (action for action in answer.actions if isinstance(action, EnsureUser))
    assert isinstance(user.password, SecretStr)
    assert to_stored_form(user.password.get_secret_value()) == stored


def test_no_secret_leaves_its_wrapping(system: System) -> None:
    """Neither actions nor problems nor the options show a password, not even a misspelt one."""
    answer = ask(
        Users(),
        """
        #cloud-config
        users: [{name: a, plain_text_passwd: geheim1, pasword: geheim2}, {name: "b b", passwd: geheim3}]
        chpasswd: {list: ["a:geheim4", "geheim5"], users: [{name: q, password: geheim6, type: geheim-typ}]}
        password: [geheim7]
        """,
        system,
    )
    assert "geheim" not in f"{answer.actions} {answer.problems}"
