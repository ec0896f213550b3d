"""Excerpts: the right line and column, and never a secret."""

from __future__ import annotations

import pytest

from ucvm_agent.userdata.context import Context, Part, Place
from ucvm_agent.userdata.excerpt import WIDTH, caret, excerpt, is_secret_key

SECRET = "hunter2"


def show(text: str, line: int, column: int = 1) -> str:
    return excerpt(Context("", parts=(Part("user-data", "text/plain", text),)), Place("user-data", line, column))


@pytest.mark.parametrize(
    "name",
    [
        "passwd",
        "plain_text_passwd",
        "hashed_passwd",
        "password",
        "secret",
        "condor_secret",
        "token",
        "api_key",
        "tsigkey",
        "key",
        "entitlement_key",
        "contextualization_key",
        "x509-cert",
        "eos-x509-cert",
        "x509-cert(base64)",
        "cert",
        "cernvm_inject",
        "cvm_cluster_pin",
        "chpasswd",
        "rsa_private",
        "ed25519_private",
        "token_secret",
        "mykey",
        "pass",
        "db-pwd",
        "pasword",
        "plain_text_pasword",
        "api-tokn",
        "sekret",
    ],
)
def test_names_of_secrets_are_known(name: str) -> None:
    """In all formats, and misspelt, too: that is when a line is shown."""
    assert is_secret_key(name)


@pytest.mark.parametrize(
    "name",
    [
        "users",
        "keyboard",
        "ssh_authorized_keys",
        "public_key",
        "cvmfs_public_key",
        "ssh_pwauth",
        "lock_passwd",
        "hostname",
        "name",
        "proxy",
        "disable_root",
        "plugins",
        "disablesshpasswdauth",
        "pinned",
        "passive",
        "privacy",
        "section",
    ],
)
def test_other_names_are_not(name: str) -> None:
    """So that what is shown is of use."""
    assert not is_secret_key(name)


@pytest.mark.parametrize(
    ("text", "line", "expected"),
    [
        (f"users=ada:staff:{SECRET},bob:bob:{SECRET}", 1, "users=ada:staff:***,bob:bob:***"),
        (f"users=ada:staff:hun,{SECRET}", 1, "users=ada:staff:***,***"),
        (f"condor_secret = {SECRET}", 1, "condor_secret = ***"),
        (f"x509-cert={SECRET}", 1, "x509-cert=***"),
        (f"  - {{name: ada, passwd: '{SECRET}, x'}}", 1, "  - {name: ada, passwd: ***"),
        (f'"password": "{SECRET}"', 1, '"password": ***'),
        (f"password: |\n  a\n\n  {SECRET}\n", 4, "  ***"),
        (f"chpasswd:\n  list:\n  - root:{SECRET}\n", 3, "  ***"),
        (f"chpasswd:\n  users:\n  - name: a\n    type: text\n    {SECRET}: x", 5, "    ***"),
        (f"url: http://ada:{SECRET}@host/x", 1, "url: http://***@host/x"),
        (f"a: $6$salt${SECRET}", 1, "a: ***"),
        (f"- curl -u ada:{SECRET} http://x", 1, "- curl -u *** http://x"),
        (f"- [curl, -H, 'Authorization: Bearer {SECRET}']", 1, "- [curl, -H, 'Authorization: Bearer ***"),
        (f"echo root:{SECRET} | chpasswd", 1, "***"),
        (f"export TOKEN={SECRET}", 1, "export TOKEN=***"),
        (f"mysql --password {SECRET}", 1, "mysql --password ***"),
        (f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}\n-----END RSA PRIVATE KEY-----", 2, "***"),
        ("H4sIhunter2#### -cluster 1 -subcluster 0####", 1, "***#### -cluster 1 -subcluster 0####"),
        ("blob " + "hunter2" * 20, 1, "blob ***"),
        (f"pasword: {SECRET}", 1, "pasword: ***"),
        (f"pasword:\n  {SECRET}", 2, "  ***"),
        ("hostname: node7", 1, "hostname: node7"),
        ("keyboard=us", 1, "keyboard=us"),
    ],
)
def test_secrets_are_masked(text: str, line: int, expected: str) -> None:
    """Whatever the format, and even if the text cannot be parsed."""
    shown = show(text, line)
    assert SECRET not in shown
    assert shown == expected


DOCUMENT = f"""#cloud-config
password: {SECRET}
users:
- name: ada
  passwd: >-
    {SECRET}
  plain_text_passwd:
      "{SECRET}
      {SECRET}"
- {{name: bob, hashed_passwd: {SECRET}}}
chpasswd:
  expire: false
  list: |
    root:{SECRET}
    ada:{SECRET}
  users:
  - {{name: ada, password: {SECRET}}}
ssh_keys:
  rsa_private: |
    {SECRET}
reporting:
  hook: {{type: webhook, endpoint: https://u:{SECRET}@h/x, token_secret: {SECRET}}}
write_files:
- path: /x
  content: |
    db_password = {SECRET}
    -----BEGIN PRIVATE KEY-----
    {SECRET}
    -----END PRIVATE KEY-----
runcmd:
- [sh, -c, "echo ada:{SECRET} | chpasswd"]
- curl --user ada:{SECRET} https://x
[cernvm]
users=ada:ada:{SECRET},bob:bob:{SECRET}
x509-cert={SECRET}
contextualization_key=id:{SECRET}
 {SECRET}
[ucernvm-begin]
cernvm_inject={SECRET}
cvm_cluster_pin = {SECRET}
"""


@pytest.mark.parametrize("damage", ["", "\t- [\n"])
def test_no_line_of_a_whole_document_shows_a_secret(damage: str) -> None:
    """Whether or not the text can be parsed, and wherever the line is cut."""
    text = DOCUMENT.replace("users:\n", f"users:\n{damage}", 1)
    for line, written in enumerate(text.splitlines(), 1):
        for column in (1, len(written)):
            assert SECRET not in show(text, line, column)


def test_a_long_line_is_cut_around_its_column() -> None:
    """And the caret points at the same character."""
    text = "a: [" + ", ".join(f"item{number:04d}" for number in range(300)) + "]"
    context = Context("", parts=(Part("user-data", "text/plain", text),))
    for column in (1, 40, 60, 77, 1_000, len(text)):
        place = Place("user-data", 1, column)
        shown, at = excerpt(context, place), caret(context, place)
        assert len(shown) == WIDTH
        assert shown[at - 1] in (text[column - 1], "…")


def test_what_is_shown_is_safe_on_a_terminal() -> None:
    """No control character reaches it."""
    assert show("a\x1b[31mb\tc\u202e\r\n", 1) == "a\ufffd[31mb c\ufffd"


def test_there_may_be_no_such_line() -> None:
    """Then there is nothing to show."""
    assert show("a", 0) == show("a", 9) == ""
    assert excerpt(Context(""), Place("user-data", 1, 1)) == ""
