"""No secret leaves the user-data, the settings or a source, whatever goes wrong on the way."""

from __future__ import annotations

import base64
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from pathlib import Path

import pytest

from tests.daemon.running import Controller, Daemon
from tests.offers import OFFERS, SECRET, Offer
from tests.servers import aws
from tests.servers.web import serve
from ucvm_agent import sources

SCRIPT = """\
#!/bin/sh
DB_PASSWORD=hush-variable
echo "password: $DB_PASSWORD" >&2
exit 3
"""
ACCOUNTS = """\
[cernvm]
users=atlas:atlas:hush-amiconfig
"""
CLOUD_CONFIG = """\
#cloud-config
users:
- {name: ada, plain_text_passwd: hush-plain, lock_passwd: false}
- {name: eve, plain_text_passwd: 'ssm:/grid/eve', lock_passwd: false}
- {name: bob, plain_text_passwd: 'ssm:/grid/nobody', lock_passwd: false}
ssh_keys: {ed25519_private: hush-key}
chpasswd: {list: 'nonsense hush-list'}
passwrod: hush-misspelt
write_files:
- {path: /etc/token, source: {uri: 's3://bucket/token'}}
- {path: /root/.netrc, content: 'default password hush-file', permissions: '0600'}
runcmd:
- [/bin/false, --password, hush-argument]
- 'echo token=hush-printed; exit 1'
"""
BROKEN = """\
#cloud-config
password: 'hush-broken
"""
INCLUDE = """\
#include
{url}/nothing?token=hush-query
"""


def context(url: str) -> bytes:
    """Return user-data with a secret in each of its parts, of which most fail; they include a page that is not there.

    Arguments:
        url: of a web server.
    """
    included = INCLUDE.format(url=url.replace("//", "//user:hush-url@"))
    message = MIMEMultipart()
    for text, kind in (
        (SCRIPT, "x-shellscript"),
        (ACCOUNTS, "amiconfig-user-data"),
        (CLOUD_CONFIG, "cloud-config"),
        (BROKEN, "cloud-config"),
        (included, "x-include-url"),
    ):
        message.attach(MIMEText(text, kind, "us-ascii"))
    return message.as_bytes()


@pytest.fixture(scope="module")
def cloud() -> Iterator[Mapping[str, str]]:
    """AWS with the secrets that the context refers to; yields the environment that leads there."""
    with aws.serve() as environment:
        aws.client("ssm").put_parameter(Name="/grid/eve", Value="hush-parameter", Type="SecureString")
        aws.client("s3").put_object(Bucket="bucket", Key="token", Body=b"hush-object")
        yield {**environment, "AWS_DEFAULT_REGION": aws.REGION, "AWS_SECRET_ACCESS_KEY": "hush-aws"}


def test_each_source_is_tried() -> None:
    """One that is added needs an offer here."""
    assert set(sources.NAMES) <= set(OFFERS)


@pytest.mark.parametrize("name", OFFERS)
async def test_no_secret_is_left_behind(
    tmp_path: Path, cloud: Mapping[str, str], controller: Controller, daemon: Daemon, name: str
) -> None:
    """The system gets the secrets; commands, their plans, logs, events, status and the agent's own files have none."""
    (tmp_path / "offer").mkdir()
    async with serve() as web, OFFERS[name](tmp_path / "offer", user_data := context(web.url)) as offer:
        daemon.environment = cloud
        daemon.configure(
            controller,
            sources={"names": [offer.source]},
            http={"url": controller.url, "token": "hush-token"},
            include={"http": True},
            **offer.settings,
        )
        left = await pairing(daemon, offer)
        for words in (["--dry-run"], ["--dry-run", "--format", "json"]):
            left[" ".join(words)] = await output(daemon, 3, *words)
        await daemon.start()
        assert "exit status 3" in (await controller.state("degraded")).reason
        for words in (["status"], ["status", "--json"], ["sources", "--json"], ["config", "--json"]):
            left[" ".join(words)] = await output(daemon, 0, *words)
        assert await daemon.end() == 0
        await controller.state("stopped")
        hidden = {SECRET, base64.b64encode(user_data).decode()[:40], *offer.generated()}
    assert_done(daemon)
    left |= {"log": daemon.log.read_text(), "standard error": daemon.errors.read_text()}
    left |= {"events": "".join(event.model_dump_json() for event in controller.events), **written(daemon)}
    assert '"level": "debug"' in left["log"]
    assert {where: secret for where, text in left.items() for secret in hidden if secret in text} == {}


async def pairing(daemon: Daemon, offer: Offer) -> dict[str, str]:
    """Pair, if the source wants that, and fail to pair by the same PIN again; return what was said."""
    if not offer.pin:
        return {}
    words = ["pair", offer.pin, "--secret-stdin"]
    return {f"pairing, {code}": await output(daemon, code, *words, given=offer.pairing_secret) for code in (0, 4)}


async def output(daemon: Daemon, code: int, *words: str, given: str = "") -> str:
    """Return all that a command shows, its debug log included."""
    ended, shown, errors = await daemon.command(*words, "--log-level", "debug", given=given)
    assert ended == code, errors
    return shown + errors


def assert_done(daemon: Daemon) -> None:
    """Check that the secrets have come to where they belong."""
    shadow = (daemon.root / "etc/shadow").read_text()
    for user in ("atlas", "ada", "eve"):
        assert f"{user}:$6$" in shadow
    assert (daemon.root / "etc/token").read_text() == "hush-object"


def written(daemon: Daemon) -> dict[str, str]:
    """Return what the agent's own files hold, by their paths.

    Without what is there to be kept: contexts, and all that their programs print.
    """
    state = daemon.root / "var/lib/ucvm-agent"
    copy = daemon.folder / "copy.db"
    shutil.copy(state / "state.db", copy)
    with closing(sqlite3.connect(copy)) as db:
        db.execute("DELETE FROM contexts")
        db.commit()
        db.execute("VACUUM")
    kept = {state / "state.db", state / "cernvm-online.context", *state.glob("runs/*.log")}
    folders = (state, daemon.root / "run/ucvm-agent")
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file() and path not in kept]
    return {str(path): path.read_bytes().decode(errors="replace") for path in [*files, copy]}
