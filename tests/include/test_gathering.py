"""A user-data with all that it includes, from real servers that work and that do not."""

from __future__ import annotations

import ssl
import stat
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme
from structlog.testing import capture_logs

from tests.servers import aws
from tests.servers.web import Page, Web, serve
from tests.userdata.conftest import findings, values
from ucvm_agent.include import fetch
from ucvm_agent.include.gathering import gather
from ucvm_agent.settings import Include, Settings
from ucvm_agent.sources.base import Found, Metadata
from ucvm_agent.userdata.context import Context
from ucvm_agent.userdata.decode import decode

HOSTNAME = b"#cloud-config\nhostname: worker-1\n"


@pytest.fixture
async def server() -> AsyncIterator[Web]:
    async with serve() as running:
        yield running


class Reader:
    """Reads user-data as an agent with its own folder does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = Settings(include=Include(http=True, timeout=5))

    async def __call__(self, text: str, *, keep: bool = True, instance: str = "i-1", source: str = "ec2") -> Context:
        metadata = Metadata(instance_id=instance, region=aws.REGION)
        found = Found(source, "test", text.encode(), metadata=metadata)
        return decode(await gather(found, self.settings, self.folder, keep=keep))


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    return Reader(tmp_path / "includes")


def only_message(context: Context) -> str:
    ((_, _, message),) = findings(context)
    return message


async def test_included_texts_are_fetched_at_all_depths(server: Web, reader: Reader) -> None:
    """With their queries, which the server needs."""
    server.pages = {"/a": Page(f"#include\n{server.url}/b?token=hush\n".encode()), "/b": Page(HOSTNAME)}
    context = await reader(f"#include {server.url}/a\n")
    assert values(context) == {"hostname": "worker-1"}
    assert server.asked == ["/a", "/b?token=hush"]
    assert context.problems == ()


async def test_https_is_verified(tmp_path: Path, reader: Reader) -> None:
    """By the certificates that the settings name, where the system's do not do."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    async with serve(context) as server:
        server.pages = {"/a": Page(HOSTNAME)}
        refused = await reader(f"#include {server.url}/a\n")
        reader.settings = Settings(include=Include(ca_file=tmp_path / "ca.pem"))
        taken = await reader(f"#include {server.url}/a\n")
    assert only_message(refused).endswith("its TLS certificate is not trusted")
    assert values(taken) == {"hostname": "worker-1"}


async def test_plain_http_is_refused_unless_allowed(server: Web, reader: Reader) -> None:
    """Anybody on the way could make this machine theirs."""
    reader.settings = Settings()
    context = await reader(f"#include {server.url}/a\n")
    assert only_message(context).endswith("plain http is not allowed")
    assert server.asked == []


@pytest.mark.parametrize(
    ("page", "message"),
    [
        (None, "the server answered 404"),
        (Page(HOSTNAME, announced=9), "the connection broke off in the middle of the answer"),
        (Page(statuses=[503] * 9), "the server answered 503"),
        (
            Page(statuses=[302], headers={"Location": "http://localhost:1/x?hush"}),
            "the answer redirects to another host",
        ),
    ],
    ids=["absent", "half", "out of order", "redirected"],
)
async def test_what_cannot_be_fetched_is_named(
    server: Web, reader: Reader, page: Page | None, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest of the user-data counts; neither log nor message holds a query."""
    monkeypatch.setattr(fetch, "TRIES", 2)
    server.pages = {"/a": page} if page else {}
    with capture_logs() as logs:
        context = await reader(f"#include {server.url}/a?hush\n[cernvm]\na=b\n")
    assert values(context) == {"[cernvm]": {"a": "b"}}
    assert f"{server.url}/a cannot be included: {message}" in only_message(context)
    assert "hush" not in f"{only_message(context)}{logs}"


async def test_a_server_that_says_nothing_is_not_waited_for(server: Web, reader: Reader) -> None:
    """All URLs have the same time, at the same time."""
    reader.settings = Settings(include=Include(http=True, timeout=0.3))
    server.pages = {f"/{number}": Page(dark=True) for number in range(9)} | {"/a": Page(HOSTNAME)}
    begun = time.monotonic()
    context = await reader("#include\n" + "".join(f"{server.url}/{name}\n" for name in ("a", 1, 2)))
    assert time.monotonic() - begun < 2
    assert values(context) == {"hostname": "worker-1"}
    assert [message.endswith("no answer within 0.3 s") for _, _, message in findings(context)] == [True, True]


async def test_a_passing_fault_passes(server: Web, reader: Reader) -> None:
    """A 5xx is not the end."""
    server.pages = {"/a": Page(HOSTNAME, statuses=[503])}
    assert values(await reader(f"#include {server.url}/a\n")) == {"hostname": "worker-1"}


async def test_size_is_bounded_in_all(server: Web, reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is too much is named."""
    monkeypatch.setattr(fetch, "MAX_SIZE", 100)
    server.pages = {"/a": Page(b"#" * 60), "/b": Page(b"#" * 60), "/c": Page(b"#" * 101)}
    context = await reader(f"#include {server.url}/c\n")
    assert "more than the 100" in only_message(context)
    context = await reader(f"#include\n{server.url}/a\n{server.url}/b\n")
    assert len(findings(context)) == 1


async def test_the_next_boot_needs_no_network(server: Web, reader: Reader) -> None:
    """What was fetched is kept for root's eyes only, and used with a warning; a dry run uses it, too."""
    server.pages = {"/a": Page(HOSTNAME)}
    text = f"#include {server.url}/a\n"
    await reader(text)
    (kept,) = reader.folder.iterdir()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(reader.folder.stat().st_mode) == 0o700
    server.pages = {}
    for keep in (False, True):
        context = await reader(text, keep=keep)
        assert values(context) == {"hostname": "worker-1"}
        assert only_message(context).startswith("an earlier copy of")


async def test_once_means_once_for_each_instance(server: Web, reader: Reader) -> None:
    """Another machine made of this disk asks again, and gets nothing of the first one."""
    server.pages = {"/a": Page(HOSTNAME)}
    text = f"#include-once\n{server.url}/a\n"
    for _ in range(2):
        assert values(await reader(text)) == {"hostname": "worker-1"}
    assert server.asked == ["/a"]
    server.pages = {}
    assert values(await reader(text, instance="i-2")) == {}


async def test_a_dry_run_writes_nothing(server: Web, reader: Reader) -> None:
    """Not even the folder."""
    server.pages = {"/a": Page(HOSTNAME)}
    await reader(f"#include {server.url}/a\n", keep=False)
    assert not reader.folder.exists()


async def test_a_damaged_copy_is_not_used_and_an_old_one_not_kept(server: Web, reader: Reader) -> None:
    """A power cut may leave anything."""
    server.pages = {"/a": Page(HOSTNAME), "/b": Page(HOSTNAME)}
    await reader(f"#include {server.url}/b\n")
    await reader(f"#include {server.url}/a\n")
    (kept,) = reader.folder.iterdir()
    kept.write_bytes(kept.read_bytes()[:-1])
    server.pages = {}
    assert values(await reader(f"#include {server.url}/a\n")) == {}


async def test_a_local_file_may_include_others(tmp_path: Path, reader: Reader) -> None:
    """User-data of a cloud may not."""
    (tmp_path / "b c").write_bytes(HOSTNAME)
    text = f"#include file://{tmp_path}/b%20c\n"
    assert values(await reader(text, source="file")) == {"hostname": "worker-1"}
    assert values(refused := await reader(text)) == {}
    assert "may include files" in only_message(refused)
    assert "cannot be read" in only_message(await reader("#include file:///nowhere\n", source="file"))
    assert "device or a pipe" in only_message(await reader("#include file:///dev/null\n", source="file"))


@pytest.mark.parametrize("url", ["ftp://example.org/x", "example.org/x", "https://[x", "https://", "gopher:x"])
async def test_what_is_no_url_of_ours_is_an_error(url: str, reader: Reader) -> None:
    """And no exception."""
    assert "cannot be included" in only_message(await reader(f"#include {url}\n"))


async def test_objects_of_s3_can_be_included(reader: Reader) -> None:
    """In the region of the machine; what is missing or too large is named."""
    with aws.serve():
        aws.client("s3").put_object(Bucket="bucket", Key="a/b", Body=HOSTNAME)
        context = await reader("#include s3://bucket/a/b\n")
        assert values(context) == {"hostname": "worker-1"}
        assert only_message(await reader("#include s3://bucket/c\n")).endswith("AWS answered NoSuchKey")
        assert "names no object" in only_message(await reader("#include s3://bucket\n"))
