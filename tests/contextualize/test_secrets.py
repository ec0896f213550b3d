"""Secrets by reference: fetched from a real server when they are applied, and seen nowhere else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from contextualizers.sshd import SSHD
from contextualizers.users import Users
from contextualizers.write_files import WriteFiles
from tests.contextualize.stand_ins import contextualizer
from tests.servers import aws
from ucvm_agent.contextualize.action_json import make_action
from ucvm_agent.contextualize.actions import EnsureUser, WriteSecretFile
from ucvm_agent.contextualize.actions.secret import SecretReference, is_reference, read_secret
from ucvm_agent.contextualize.apply import apply
from ucvm_agent.contextualize.plan import Plan, make_plan
from ucvm_agent.contextualize.preview import preview
from ucvm_agent.contextualize.render_text import render_text
from ucvm_agent.contextualize.secrets import LIFETIME, Secrets
from ucvm_agent.contextualize.system import System
from ucvm_agent.errors import ActionError
from ucvm_agent.sources.base import Found, Metadata
from ucvm_agent.store.store import Store
from ucvm_agent.userdata.context import Context
from ucvm_agent.userdata.decode import decode

HASH = "$6$saltsalt$" + "x" * 86
HUSH = "hush-hush"


@pytest.fixture(scope="module")
def cloud() -> Iterator[None]:
    """AWS with some secrets in it."""
    with aws.serve():
        parameters = aws.client("ssm")
        for name, value in (("/grid/ada", HASH), ("/grid/eve", HUSH), ("/grid/key", f"PRIVATE KEY {HUSH}")):
            parameters.put_parameter(Name=name, Value=value, Type="SecureString")
        parameters.put_parameter(Name="/grid/eve", Value=f"{HUSH}-2", Type="SecureString", Overwrite=True)
        secrets = aws.client("secretsmanager")
        secrets.create_secret(Name="grid/all", SecretString=json.dumps({"token": HUSH, "port": 22}))
        secrets.create_secret(Name="grid/bytes", SecretBinary=b"\xff\x00")
        aws.client("s3").put_object(Bucket="bucket", Key="a/password", Body=f"{HUSH}\n".encode())
        yield


@pytest.fixture
def system(tmp_path: Path) -> System:
    etc = tmp_path / "root/etc"
    etc.mkdir(parents=True)
    (etc / "passwd").write_text("root:x:0:0:root:/root:/bin/bash\n")
    (etc / "group").write_text("root:x:0:\n")
    (etc / "shadow").write_text("root:*:15870:0:99999:7:::\n")
    return System(tmp_path / "root")


def context(text: str) -> Context:
    metadata = Metadata(instance_id="i-1", region=aws.REGION)
    return decode(Found("ec2", "test", text.encode(), metadata=metadata))


CONTEXT = """\
#cloud-config
users:
  - {name: eve, plain_text_passwd: "ssm:/grid/eve:2", lock_passwd: false}
chpasswd:
  expire: false
  list: |
    eve:secretsmanager:grid/all#token
write_files:
  - {path: /etc/token, source: {uri: "s3://bucket/a/password"}}
ssh_keys: {ed25519_private: "ssm:/grid/key"}
[cernvm]
users=ada:ada:ssm:/grid/ada
"""


def plan(system: System, text: str = CONTEXT) -> Plan:
    return make_plan(context(text), system, [Users(), WriteFiles(), SSHD()])


# References


@pytest.mark.parametrize(
    "text",
    [
        "ssm:/grid/ada",
        "ssm:ada:3",
        "ssm:/grid/ada:label",
        "ssm:arn:aws:ssm:eu-central-1:123456789012:parameter/grid/ada",
        "secretsmanager:grid/all",
        "secretsmanager:arn:aws:secretsmanager:eu-central-1:123456789012:secret:grid/all-AbCdEf#token@AWSPREVIOUS",
        "s3://bucket/a/b c",
        "s3://bucket/key?versionId=1",
    ],
)
def test_a_reference_is_no_password(text: str) -> None:
    """But where it is kept."""
    if " " in text:
        with pytest.raises(ValueError, match="no reference"):
            read_secret(text)
    else:
        assert read_secret(text) == SecretReference(text)


@pytest.mark.parametrize(
    "text", ["ssm:", "ssm:a b", "ssm:/x#y", "secretsmanager:#key", "s3:bucket", "s3://bucket", "secretmanager:x"]
)
def test_what_looks_like_a_reference_is_never_used_as_a_password(text: str) -> None:
    """It would be one that everybody can read in the user-data."""
    with pytest.raises(ValueError, match="no reference"):
        read_secret(text)


@given(st.text() | st.integers() | st.none() | st.lists(st.text()))
def test_anything_else_is_a_secret_or_refused(value: object) -> None:
    """And a text is kept as it is."""
    if value is None or isinstance(value, list):
        with pytest.raises(ValueError, match="expected text"):
            read_secret(value)
    elif not is_reference(str(value).strip()):
        secret = read_secret(value)
        assert isinstance(secret, SecretStr)
        assert secret.get_secret_value() == str(value)


def test_a_wrong_reference_is_a_problem_at_its_line(system: System) -> None:
    """In every dialect."""
    text = "#cloud-config\npassword: 'ssm:a b'\n[cernvm]\nusers=ada::ssm:a b\n"
    places = [(found.place.line, "no reference" in found.message) for found in plan(system, text).problems]
    assert places == [(2, True), (4, True)]


def test_a_drop_in_may_refer_to_secrets() -> None:
    """Its actions are read like those of a context."""
    made = make_action({"kind": "user", "name": "ada", "password": "ssm:/grid/ada"})
    assert made == EnsureUser(name="ada", password=SecretReference("ssm:/grid/ada"))
    file = make_action({"kind": "secret_file", "path": "/x", "source": {"text": "ssm:/grid/ada"}})
    assert file == WriteSecretFile(path="/x", source=SecretReference("ssm:/grid/ada"))


# Fetching


@pytest.mark.usefixtures("cloud")
@pytest.mark.parametrize(
    ("reference", "secret"),
    [
        ("ssm:/grid/eve", f"{HUSH}-2"),
        ("ssm:/grid/eve:1", HUSH),
        ("secretsmanager:grid/all", '{"token": "hush-hush", "port": 22}'),
        ("secretsmanager:grid/all#token@AWSCURRENT", HUSH),
        ("secretsmanager:grid/all#port", "22"),
        ("s3://bucket/a/password", HUSH),
    ],
)
async def test_a_secret_is_fetched_as_text(reference: str, secret: str) -> None:
    """The line end of a file is none of it."""
    assert (await Secrets(aws.REGION).resolve_text(SecretReference(reference))).get_secret_value() == secret


@pytest.mark.usefixtures("cloud")
@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("ssm:/grid/nobody", "ParameterNotFound"),
        ("secretsmanager:nothing", "ResourceNotFoundException"),
        ("secretsmanager:grid/all#nothing", "no JSON object with a key nothing"),
        ("secretsmanager:grid/bytes", "no text"),
        ("s3://bucket/nothing", "NoSuchKey"),
        ("s3://nobody/nothing", "NoSuchBucket"),
    ],
)
async def test_what_cannot_be_fetched_says_why(reference: str, words: str) -> None:
    """And which one it was."""
    with pytest.raises(ActionError, match=words) as failed:
        await Secrets(aws.REGION).resolve_text(SecretReference(reference))
    assert failed.value.where == reference


async def test_nobody_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without credentials nobody is even asked."""
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    with pytest.raises(ActionError, match="credentials"):
        await Secrets(aws.REGION).resolve(SecretReference("ssm:x"))
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    with pytest.raises(ActionError, match="region"):
        await Secrets().resolve(SecretReference("ssm:x"))


@pytest.mark.usefixtures("cloud")
async def test_a_secret_is_remembered_for_five_minutes() -> None:
    """Not longer, since it may be another one then."""
    now = 0.0
    parameters = aws.client("ssm")
    parameters.put_parameter(Name="/changing", Value="1", Type="SecureString")
    secrets = Secrets(aws.REGION, clock=lambda: now)
    reference = SecretReference("ssm:/changing")
    assert (await secrets.resolve(reference)).get_secret_value() == b"1"
    parameters.put_parameter(Name="/changing", Value="2", Type="SecureString", Overwrite=True)
    now = LIFETIME - 1
    assert (await secrets.resolve(reference)).get_secret_value() == b"1"
    now = LIFETIME
    assert (await secrets.resolve(reference)).get_secret_value() == b"2"


# From context to system


def test_a_plan_names_the_place_and_asks_nobody(system: System) -> None:
    """A dry run needs no cloud."""
    made = plan(system)
    shown = render_text(preview(made, system), color=False)
    for place in ("ssm:/grid/ada", "secretsmanager:grid/all#token", "s3://bucket/a/password", "ssm:/grid/key"):
        assert place in shown
    assert "with a password, password from ssm:/grid/ada" in " ".join(shown.split())
    assert made.problems == ()


@pytest.mark.usefixtures("cloud")
async def test_secrets_come_to_where_they_belong(system: System, tmp_path: Path) -> None:
    """And nowhere else, which tests/test_secrets.py shows."""
    with closing(Store(tmp_path / "state/state.db", "boot-1")) as store:
        await apply(plan(system), system, store, parallel=8, state_dir=tmp_path / "state")
    shadow = (system.root / "etc/shadow").read_text()
    assert f"ada:{HASH}:" in shadow
    assert "eve:$6$" in shadow
    assert (system.root / "etc/token").read_text() == f"{HUSH}\n"
    assert (system.root / "etc/token").stat().st_mode & 0o777 == 0o600
    assert (system.root / "etc/ssh/ssh_host_ed25519_key").read_text() == f"PRIVATE KEY {HUSH}\n"


@pytest.mark.usefixtures("cloud")
async def test_a_missing_secret_fails_its_action_only(system: System, tmp_path: Path) -> None:
    """And the reason names it."""
    actions = [
        EnsureUser(name="ada", password=SecretReference("ssm:/grid/nobody")),
        WriteSecretFile(path="/etc/token", source=SecretReference("s3://bucket/a/password")),
    ]
    with closing(Store(tmp_path / "state/state.db", "boot-1")) as store:
        made = make_plan(context(""), system, [contextualizer("test", actions)])
        applied = await apply(made, system, store, parallel=1, state_dir=tmp_path / "state")
    (failure,) = applied.failures
    assert "ssm:/grid/nobody: AWS answered ParameterNotFound" in failure.reason
    assert applied.changed == 1
