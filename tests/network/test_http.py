"""What every HTTP session of the program does and refuses to do."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import trustme
from aiohttp import web
from aiohttp.test_utils import TestServer
from structlog.testing import capture_logs

from ucvm_agent.errors import SettingsError
from ucvm_agent.network import http


async def _serve(request: web.Request) -> web.StreamResponse:
    match request.path:
        case "/moved":
            raise web.HTTPFound("/here")
        case "/elsewhere":
            return web.Response(status=302, headers={"Location": request.query["to"]})
        case "/bomb":
            response = web.Response(body=bytes(1_000_000))
            response.enable_compression(web.ContentCoding.gzip)
            return response
        case _:
            return web.Response(text="here")


def application() -> web.Application:
    served = web.Application()
    served.router.add_route("*", "/{path:.*}", _serve)
    return served


@pytest.fixture
async def server() -> AsyncIterator[TestServer]:
    running = TestServer(application())
    async with running:
        yield running


async def test_redirect_on_the_same_host_is_followed(server: TestServer) -> None:
    """A path that moved is found."""
    async with http.session() as session, session.get(server.make_url("/moved")) as response:
        assert await http.read_bounded(response, 100) == b"here"


@pytest.mark.parametrize("to", ["http://localhost:1/x?secret", "//localhost:1", "http://["])
async def test_redirect_to_another_host_is_refused(server: TestServer, to: str) -> None:
    """Before anything goes there."""
    async with http.session() as session:
        with pytest.raises(http.AnswerRefused, match="another host") as refused:
            await session.get(server.make_url("/elsewhere").with_query(to=to))
    assert "secret" not in str(refused.value)


async def test_redirect_to_another_port_of_a_link_local_server_is_refused(server: TestServer) -> None:
    """Elsewhere it is the same host; at a link-local address another port is another service."""
    async with TestServer(application()) as other:
        url = server.make_url("/elsewhere").with_query(to=str(other.make_url("/here")))
        async with http.session() as session, session.get(url) as response:
            assert response.status == 200
        async with http.session(link_local=True) as session:
            with pytest.raises(http.AnswerRefused, match="another host"):
                await session.get(url)


async def test_proxy_of_the_environment_is_asked(server: TestServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its credentials, except for the hosts of `no_proxy` and for what is on the local link."""
    url = "http://controller.example.org:8080/moved"
    proxy = server.make_url("/").with_user("user").with_password("password")
    monkeypatch.setenv("http_proxy", str(proxy))
    async with http.session() as session, session.get(url, allow_redirects=False) as response:
        assert response.status == 302
        assert response.request_info.headers["Proxy-Authorization"].startswith("Basic ")
    monkeypatch.setenv("no_proxy", "localhost,.example.org")
    async with http.session() as session:
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(url)
    monkeypatch.setenv("no_proxy", "")
    async with http.session(link_local=True) as session:
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get("http://127.0.0.1:1/")


async def test_netrc_is_not_read(server: TestServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its passwords go nowhere, and do not get in the way of a token."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login user password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    headers = {"Authorization": "Bearer token"}
    async with http.session() as session:
        async with session.get(server.make_url("/here"), headers=headers) as response:
            assert response.request_info.headers["Authorization"] == "Bearer token"
        async with session.get(server.make_url("/here")) as response:
            assert "Authorization" not in response.request_info.headers


async def test_body_is_bounded_and_not_unpacked(server: TestServer) -> None:
    """A compressed body comes as it is, so it cannot grow; one byte too many is refused."""
    async with http.session() as session:
        async with session.get(server.make_url("/bomb"), headers={"Accept-Encoding": "gzip"}) as response:
            body = await http.read_bounded(response, 10_000)
        assert body.startswith(b"\x1f\x8b")
        async with session.get(server.make_url("/")) as response:
            assert await http.read_bounded(response, 4) == b"here"
        async with session.get(server.make_url("/")) as response:
            with pytest.raises(http.AnswerRefused, match="4 bytes"):
                await http.read_bounded(response, 3)


async def test_log_has_no_query_credentials_or_headers(server: TestServer) -> None:
    """One line a request and one an answer, with method, status and duration."""
    url = server.make_url("/here").with_query(token="query-secret").with_user("user").with_password("url-secret")
    with capture_logs() as logs:
        async with http.session() as session, session.post(url, data="body-secret") as response:
            await response.read()
    assert [line["event"] for line in logs] == ["http request", "http answer"]
    assert (logs[1]["method"], logs[1]["url"], logs[1]["status"]) == ("POST", str(server.make_url("/here")), 200)
    assert logs[1]["bytes"] == 4
    assert "secret" not in repr(logs)


async def test_only_the_named_certificates_are_trusted(tmp_path: Path) -> None:
    """With `ca_file` its server is trusted, with the system's certificates it is not."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    server = TestServer(application(), scheme="https")
    await server.start_server(ssl=context)
    try:
        url = server.make_url("/")
        async with http.session(ca_file=tmp_path / "ca.pem") as session, session.get(url) as response:
            assert response.status == 200
        async with http.session(verify=False) as session, session.get(url) as response:
            assert response.status == 200
        async with http.session() as session:
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await session.get(url)
    finally:
        await server.close()


@pytest.mark.parametrize("content", [None, "no certificate"])
async def test_unusable_certificate_file_is_a_settings_error(tmp_path: Path, content: str | None) -> None:
    """It is named, and nothing is trusted instead."""
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(SettingsError, match=r"ca\.pem"):
        async with http.session(ca_file=file):
            pass


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:pass@example.org:8443/a/b?token=x#y", "https://example.org:8443/a/b"),
        ("http://[fd00:ec2::254]/latest", "http://[fd00:ec2::254]/latest"),
        ("/path?x", "/path"),
    ],
)
def test_url_is_shown_without_secrets(url: str, shown: str) -> None:
    """Credentials, query and fragment go, the rest stays."""
    assert http.without_secrets(url) == shown
