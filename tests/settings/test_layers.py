"""Settings from file, environment, kernel command line and options."""

from __future__ import annotations

from pathlib import Path

import pytest

from ucvm_agent.errors import SettingsError
from ucvm_agent.settings import leaves
from ucvm_agent.settings.layers import load


def test_later_layers_win_and_tell_where_a_value_came_from(tmp_path: Path) -> None:
    """File, environment, kernel command line, options: each overrules the one before."""
    file = tmp_path / "agent.toml"
    file.write_text('[xmpp]\njid = "a@example.org"\nport = 1\n\n[log]\nlevel = "error"\n[sources]\ndeadline = 1\n')
    effective = load(
        file,
        {"UCVM_LOG__LEVEL": "warning", "UCVM_XMPP__PORT": "2", "PATH": "/bin"},
        'BOOT_IMAGE=/vmlinuz quiet ucvm.xmpp.port=3 ucvm.sources.names="ec2, file"',
        {"sources": {"deadline": 9.0}},
    )
    settings = effective.settings
    assert (settings.xmpp.jid, settings.xmpp.port, settings.log.level) == ("a@example.org", 3, "warning")
    assert (settings.sources.names, settings.sources.deadline) == (("ec2", "file"), 9.0)
    assert effective.origins == {
        ("xmpp", "jid"): f"{file} line 2",
        ("xmpp", "port"): "kernel command line ucvm.xmpp.port",
        ("log", "level"): "UCVM_LOG__LEVEL",
        ("sources", "names"): "kernel command line ucvm.sources.names",
        ("sources", "deadline"): "command line",
    }


def test_kernel_takes_dash_for_underscore() -> None:
    """`require-imdsv2` is `require_imdsv2`, as for the kernel's own parameters."""
    settings = load(None, {}, "ucvm.sources.ec2.require-imdsv2=true", {}).settings
    assert settings.sources.ec2.require_imdsv2


def test_a_quote_that_is_left_open_stops_nobody() -> None:
    """The kernel takes such a line, and the agent has to come up with it."""
    settings = load(None, {}, 'root=/dev/vda1 dyndbg="file x +p ucvm.log.level=debug', {}).settings
    assert settings.log.level == "info"
    assert load(None, {}, "dyndbg='x ucvm.log.level=debug", {}).settings.log.level == "debug"


@pytest.mark.parametrize(
    ("text", "environment", "kernel", "expected"),
    [
        ('[xmpp]\njdi = "a"\n', {}, "", "agent.toml line 2: unknown setting xmpp.jdi (did you mean xmpp.jid?)"),
        ("[xmp]\n", {"UCVM_XMPP__JDI": "a"}, "", "UCVM_XMPP__JDI: unknown setting (did you mean UCVM_XMPP__JID?)"),
        ("", {}, "ucvm.log.levl=debug", "ucvm.log.levl: unknown setting (did you mean ucvm.log.level?)"),
        ("[xmpp]\nport = 99999\n", {}, "", "agent.toml line 2: xmpp.port: expected at most 65535"),
        ("[xmpp\n", {}, "", "is not TOML"),
        ('jid = "a"\n', {}, "", "agent.toml line 1: unknown setting jid"),
        ("xmpp = 1\n", {}, "", "agent.toml line 1: xmpp is a table (write [xmpp], and its settings beneath that)"),
        ('\n[[xmpp]]\njid = "a@b"\n', {}, "", "agent.toml line 2: xmpp is a table"),
        ("[jobs]\nenabled = 'maybe'\n", {}, "", "agent.toml line 2: jobs.enabled: expected true or false"),
        ("stop_timeout = 0\n", {}, "", "agent.toml line 1: stop_timeout: expected more than 0"),
        ('root = "/no/such"\n', {}, "", "agent.toml line 1: root: expected a folder that exists"),
        (
            "[log]\nlevel = 'x'\n",
            {},
            "",
            "agent.toml line 2: log.level: expected 'debug', 'info', 'warning' or 'error'",
        ),
        ('[xmpp]\ncontrollers = ["a@b", 1]\n', {}, "", "agent.toml line 2: xmpp.controllers[2]: expected text"),
        ("\njobs = {slts = 2}\n", {}, "", "agent.toml line 2: unknown setting jobs.slts (did you mean jobs.slots?)"),
        ("xmpp.prt = 5\n", {}, "", "agent.toml line 1: unknown setting xmpp.prt (did you mean xmpp.port?)"),
        ("[xmpp]\njid = a@b\n", {}, "", 'line 2, column 7) (texts stand in quotes: name = "value")'),
        ("[xmpp]\njid = 'a\udce4'\n", {}, "", "agent.toml: line 2 is not UTF-8"),
    ],
)
def test_mistakes_are_told_with_place_and_nearest_name(
    tmp_path: Path, text: str, environment: dict[str, str], kernel: str, expected: str
) -> None:
    """An unknown setting or a wrong value names its place; nothing is guessed."""
    file = tmp_path / "agent.toml"
    file.write_text(text, errors="surrogateescape")
    with pytest.raises(SettingsError) as caught:
        load(file, environment, kernel, {})
    assert expected in str(caught.value)


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    """Nobody has to start the agent again for each of them."""
    file = tmp_path / "agent.toml"
    file.write_text('[xmpp]\njdi = "a@b"\nport = "x"\n[jobs]\nslots = 1.5\n')
    with pytest.raises(SettingsError) as caught:
        load(file, {}, "", {})
    assert str(caught.value) == (
        f"{file} line 2: unknown setting xmpp.jdi (did you mean xmpp.jid?);"
        f" {file} line 3: xmpp.port: expected a whole number; {file} line 5: jobs.slots: expected a whole number"
    )


def test_named_file_must_exist(tmp_path: Path) -> None:
    """Only the default file may be absent."""
    with pytest.raises(SettingsError, match="No such file"):
        load(tmp_path / "absent.toml", {}, "", {})


def test_every_setting_can_be_given_in_the_environment() -> None:
    """No setting's spelling in the environment is lost."""
    names = ["UCVM_" + "__".join(path).upper() for path, _ in leaves()]
    assert len(names) == len(set(names))
    assert "UCVM_SOURCES__EC2__TOKEN_TTL" in names
    with pytest.raises(SettingsError, match="UCVM_SOURCES__EC2__TOKEN_TTL: sources"):
        load(None, {"UCVM_SOURCES__EC2__TOKEN_TTL": "soon"}, "", {})


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("hunter2", "not a URL"),
        ("ftp://hooks.example/hunter2", "not a URL"),
        ("https:///hunter2", "not a URL"),
        ("https://[hunter2/", "not a URL"),
        ("https://me:hunter2@hooks.example/", "http.token_file"),
        ("https://hooks.example/?token=hunter2", "http.token_file"),
        ("https://hooks.example/#hunter2", "http.token_file"),
    ],
)
def test_a_url_that_cannot_be_shown_is_refused(url: str, reason: str) -> None:
    """The message tells where a secret belongs, and repeats none."""
    for setting in ("UCVM_HTTP__URL", "UCVM_SOURCES__CERNVM_ONLINE__URL", "UCVM_CLUSTER__SERVICE_URL"):
        with pytest.raises(SettingsError, match=reason) as caught:
            load(None, {setting: url}, "", {})
        assert "hunter2" not in repr(caught.value)
        assert caught.value.where == setting


@pytest.mark.parametrize("setting", ["EC2__ENDPOINTS", "OPENSTACK__ENDPOINTS", "CLOUDSTACK__ROUTERS", "NOCLOUD__SEED"])
def test_a_place_has_no_credentials_either(setting: str) -> None:
    """Whatever else it may be."""
    with pytest.raises(SettingsError, match="credentials"):
        load(None, {f"UCVM_SOURCES__{setting}": "http://me:hunter2@host"}, "", {})


def test_a_refused_secret_is_not_in_the_error() -> None:
    """The message tells which setting is wrong, not what was given."""
    with pytest.raises(SettingsError) as caught:
        load(None, {}, "", {"xmpp": {"password": ["hunter2"]}})
    assert "hunter2" not in repr(caught.value)
    assert "xmpp.password" in str(caught.value)


def with_context(tmp_path: Path, text: str) -> tuple[Path, dict[str, object]]:
    """Put settings of the user-data beneath a root; return their file and the options that name the root."""
    file = tmp_path / "root/etc/ucvm-agent/context.toml"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    return file, {"root": tmp_path / "root"}


def test_user_data_overrule_the_file_and_nothing_else(tmp_path: Path) -> None:
    """An image is for many machines; whoever starts the machine has the last word."""
    file, options = with_context(tmp_path, '[xmpp]\njid = "vm@site.example"\nport = 2\nhost = "b"\n')
    site = tmp_path / "agent.toml"
    site.write_text('[xmpp]\njid = "image@site.example"\nport = 1\nverify = false\n')
    effective = load(site, {}, "ucvm.xmpp.host=c", options)
    xmpp = effective.settings.xmpp
    assert (xmpp.jid, xmpp.port, xmpp.host, xmpp.verify) == ("vm@site.example", 2, "c", False)
    assert effective.origins["xmpp", "jid"] == f"{file} line 2"
    assert load(site, {}, "", options, with_context=False).settings.xmpp.jid == "image@site.example"


@pytest.mark.parametrize(
    ("context", "password", "file"),
    [
        ('[xmpp]\njid = "vm@site.example"\n', "", None),
        ('[xmpp]\npassword = "own"\n', "own", None),
        ("[xmpp]\nport = 1\n", "", Path("/image")),
    ],
)
def test_a_secret_of_the_file_is_for_its_own_address(
    tmp_path: Path, context: str, password: str, file: Path | None
) -> None:
    """It is not sent where user-data say, and does not hide a secret that they bring."""
    _, options = with_context(tmp_path, context)
    site = tmp_path / "agent.toml"
    site.write_text('[xmpp]\njid = "image@site.example"\npassword_file = "/image"\n')
    xmpp = load(site, {}, "", options).settings.xmpp
    assert (xmpp.password.get_secret_value(), xmpp.password_file) == (password, file)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[xmpp\n", "is not TOML"),
        ('[xmpp]\njdi = "x"\n', "unknown setting xmpp.jdi"),
        ("[xmpp]\nport = 0\n", "xmpp.port"),
        ('[sources]\nnames = ["file"]\n', "user-data cannot set sources.names"),
    ],
)
def test_wrong_settings_of_user_data_keep_nobody_away(tmp_path: Path, text: str, reason: str) -> None:
    """They were right once, for another version perhaps; the others count."""
    file, options = with_context(tmp_path, text)
    effective = load(None, {}, "ucvm.log.level=debug", options)
    assert effective.settings.log.level == "debug"
    assert effective.settings.xmpp.port == 5222
    assert reason in str(effective.refused)
    assert str(file) in str(effective.refused)


def test_settings_of_user_data_are_looked_for_beneath_the_root_only(tmp_path: Path) -> None:
    """Whatever links there are in an image."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "context.toml").write_text("[xmpp]\nport = 1\n")
    (tmp_path / "root/etc").mkdir(parents=True)
    (tmp_path / "root/etc/ucvm-agent").symlink_to(outside)
    assert load(None, {}, "", {"root": tmp_path / "root"}).settings.xmpp.port == 5222
