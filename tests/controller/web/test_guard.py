"""Who may ask the site, and what every answer says."""

from __future__ import annotations

import io
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.controller.web.site import Api, client, lonely_controller, operations
from ucvm_agent.controller.controller import Controller
from ucvm_agent.controller.web.guard import Hosts
from ucvm_agent.controller.web.site import open_site
from ucvm_agent.errors import SettingsError, StoreBusy


async def test_everything_needs_a_token(api: Api) -> None:
    """But the page itself, which asks for it, and the sign of life."""
    for method, path in operations(api.described):
        for token in ("", "wrong", api.token[:-1], f"{api.token}x"):
            answer = await api.ask(method, path.replace("{", "").replace("}", ""), token=token)
            assert answer.status == 401
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
            assert method == "HEAD" or "Authorization: Bearer" in answer.json["hint"]
    for path in ("/", "/app.js", "/style.css", "/healthz"):
        assert (await api.ask("GET", path, token="")).status == 200


async def test_the_token_is_made_once_and_only_ours(api: Api, manager: Controller) -> None:
    """A file of mode 0600 in the state folder."""
    path = manager.settings.token_file
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    async with open_site(manager) as url, client(manager, url) as again:
        assert again.token == api.token


@pytest.mark.parametrize("content", ["", "short", "with a blank in the middle"])
async def test_a_token_that_is_none_is_refused(tmp_path: Path, content: str) -> None:
    """Rather than to be open to everybody."""
    async with lonely_controller(tmp_path) as manager:
        manager.settings.token_file.write_text(content)
        with pytest.raises(SettingsError, match="not a token"):
            async with open_site(manager):
                pass


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("evil.example", 421),
        ("evil.example:8480", 421),
        ("127.0.0.1.evil.example", 421),
        ("", 421),
        ("[", 421),
        ("localhost:8480", 200),
        ("127.0.0.1", 200),
        ("[::1]:8480", 200),
        ("JM.example", 200),
    ],
)
async def test_a_page_elsewhere_cannot_use_the_site(api: Api, host: str, status: int) -> None:
    """Whatever name it has made lead here (DNS rebinding)."""
    assert (await api.ask("GET", "/api/v1/summary", headers={"Host": host})).status == status
    page = await api.ask("GET", "/", headers={"Host": host})
    assert page.status == status
    if status == 421:
        assert "http.public_url" in page.json["hint"]  # whoever has put a proxy before it has to know


async def test_every_answer_forbids_scripts_of_others(api: Api) -> None:
    """Whatever a job has written; and no other site may read it."""
    for path in ("/", "/api/v1/jobs", "/nothing"):
        headers = (await api.ask("GET", path)).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "Access-Control-Allow-Origin" not in headers


async def test_errors_have_one_shape(api: Api) -> None:
    """Also those of the web server."""
    for method, path, status in (("GET", "/nothing", 404), ("PATCH", "/api/v1/jobs", 405)):
        answer = await api.ask(method, path)
        assert answer.status == status
        assert answer.json.keys() == {"error", "hint", "fields"}
    assert (await api.ask("POST", "/api/v1/jobs", data=io.BytesIO(b"x" * 2_000_000))).status == 413


@pytest.mark.parametrize("listen", ["8480", "127.0.0.1", "127.0.0.1:x", "me@127.0.0.1:1", "127.0.0.1:99999"])
async def test_an_address_that_is_none_is_refused(tmp_path: Path, listen: str) -> None:
    """With what it has to look like."""
    async with lonely_controller(tmp_path, listen=listen) as manager:
        with pytest.raises(SettingsError, match=r"127\.0\.0\.1:8480"):
            async with open_site(manager):
                pass


async def test_a_second_controller_in_one_folder_is_told_what_it_is(tmp_path: Path, api: Api) -> None:
    """Not an agent."""
    with pytest.raises(StoreBusy, match="another ucvm-controller is at work here"):
        async with lonely_controller(tmp_path):
            pass


async def test_an_address_that_is_taken_is_told(api: Api, tmp_path: Path) -> None:
    """As an error of the settings."""
    folder = tmp_path / "other"
    folder.mkdir()
    async with lonely_controller(folder, listen=api.url.removeprefix("http://")) as manager:
        with pytest.raises(SettingsError, match="cannot be listened to"):
            async with open_site(manager):
                pass


@given(header=st.text(max_size=80))
def test_no_host_header_confuses_the_guard(header: str) -> None:
    """It is whatever a peer writes."""
    assert isinstance(header in Hosts("https://jobs.example"), bool)
