"""The agent's own settings in user-data."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from contextualizers.agent import Agent
from tests.contextualizers.ask import Answer, ask, furnish
from ucvm_agent.contextualize.actions import WriteSecretFile, WriteSettings
from ucvm_agent.contextualize.plan import make_plan
from ucvm_agent.contextualize.system import System
from ucvm_agent.settings import CONTEXT_FILE, CONTEXT_TABLES
from ucvm_agent.sources.base import Found, Metadata
from ucvm_agent.userdata.decode import decode

ACCOUNT = """\
#cloud-config
ucvm_agent:
  xmpp: {jid: vm7@site.example, password: hunter2, controllers: [jm@site.example]}
  jobs: {enabled: true, slots: 2}
"""


def settings(answer: Answer) -> dict[str, Any]:
    """Return the settings that the one action writes."""
    (action,) = (action for action in answer.actions if isinstance(action, WriteSettings))
    return tomllib.loads(action.content.decode())


@pytest.fixture
def in_force(tmp_path: Path) -> System:
    """A system on which an earlier context has set something."""
    return furnish(tmp_path, {CONTEXT_FILE: '[http]\nurl = "https://earlier.example/"\n'})


@pytest.mark.parametrize(
    "text",
    [
        ACCOUNT,
        """
        [ucvm-agent]
        xmpp.jid=vm7@site.example
        xmpp.password=hunter2
        xmpp.controllers=jm@site.example
        jobs.enabled=true
        jobs.slots=2
        """,
        """
        [copilot]
        AGENT_JABBER_ID=vm7
        AGENT_JABBER_DOMAIN=site.example
        AGENT_JABBER_PASSWORD=hunter2
        JM_JABBER_ADDRESS=jm@site.example
        [ucvm-agent]
        jobs.slots=2
        """,
    ],
)
def test_all_ways_to_write_them_mean_the_same(text: str, system: System) -> None:
    """cloud-config, a section, and the names of the original Co-Pilot agent."""
    answer = ask(Agent(), text, system)
    assert answer.texts == []
    assert settings(answer) == {
        "xmpp": {"jid": "vm7@site.example", "password": "hunter2", "controllers": ["jm@site.example"]},
        "jobs": {"enabled": True, "slots": 2},
    }


def test_the_original_agents_server_may_be_its_domain(system: System) -> None:
    """And without either there is no account."""
    given = "[copilot]\nagent_jabber_id=vm\nagent_jabber_password=p\nagent_work_dir=/scratch\n"
    found = settings(ask(Agent(), f"{given}agent_jabber_server=xmpp.example\n", system))
    assert found["xmpp"] == {"jid": "vm@xmpp.example", "password": "p", "host": "xmpp.example"}
    assert found["jobs"] == {"enabled": True, "work_dir": "/scratch"}
    plan = make_plan(decode(Found("file", "test", given.encode())), system, [Agent()])
    assert plan.steps == ()
    assert "no AGENT_JABBER_DOMAIN" in plan.problems[0].message


def test_mistakes_are_told_with_line_and_nearest_name_and_the_rest_counts(system: System) -> None:
    """No value of a secret is in what is told."""
    text = f"""{ACCOUNT}
  http: {{url: "https://me:hunter2@site.example/"}}
  transfer: {{timeout: soon}}
  sources: {{names: [file]}}
  htpp: {{}}
[ucvm-agent]
xmpp.prot=5222
xmpp.port=99999
root=/x
"""
    context = decode(Found("file", "test", text.encode()))
    plan = make_plan(context, system, [Agent()])
    told = [f"{each.severity} {each.place.line}: {each.message} ({each.hint})" for each in plan.problems]
    site = "only agent.toml can set what decides how user-data are found and used"
    assert told == [
        "error 6: ucvm_agent.http.url: may hold no credentials and no query, since it is shown"
        " (a token for [http] goes into http.token_file) ()",
        "error 7: ucvm_agent.transfer.timeout: expected a number ()",
        f"warning 8: ucvm_agent.sources is not supported by this agent ({site})",
        "warning 9: unknown key ucvm_agent.htpp (did you mean ucvm_agent.http?)",
        "warning 11: unknown key [ucvm-agent] xmpp.prot (did you mean [ucvm-agent] xmpp.port?)",
        "error 12: [ucvm-agent] xmpp.port: expected at most 65535 ()",
        f"warning 13: [ucvm-agent] root is not supported by this agent ({site})",
    ]
    assert "hunter2" not in repr(plan.problems)
    assert settings(ask(Agent(), text, system)).keys() == {"xmpp", "jobs"}


def test_where_something_is_refused_the_settings_in_force_stay(in_force: System) -> None:
    """Those who gave them have to hear what is wrong."""
    assert ask(Agent(), ACCOUNT.replace("slots: 2", "slots: -1"), in_force).actions == []


def test_a_context_without_settings_takes_back_what_an_earlier_one_set(system: System, in_force: System) -> None:
    """Not one that a controller gave: the machine would be out of its reach."""
    assert ask(Agent(), "#cloud-config\nhostname: a\n", in_force).actions == [WriteSettings()]
    given = Metadata(sequence=3)
    assert ask(Agent(), "#cloud-config\nhostname: a\n", in_force, given).actions == []


def test_without_settings_there_is_nothing_to_do(system: System) -> None:
    """On most machines."""
    assert ask(Agent(), "#cloud-config\nhostname: a\n", system).actions == []


def test_a_secret_may_be_kept_elsewhere(system: System) -> None:
    """It is fetched into a file of its own when the plan is applied."""
    answer = ask(Agent(), ACCOUNT.replace("hunter2", "ssm:/site/xmpp"), system)
    fetched = answer.actions[0]
    assert isinstance(fetched, WriteSecretFile)
    assert (str(fetched.source), fetched.path) == ("ssm:/site/xmpp", "/etc/ucvm-agent/context-xmpp-password")
    assert settings(answer)["xmpp"]["password_file"] == fetched.path
    assert "password" not in settings(answer)["xmpp"]


def test_an_account_without_a_password_is_warned_about(system: System) -> None:
    """The one of agent.toml is for the account of agent.toml."""
    answer = ask(Agent(), "[ucvm-agent]\nxmpp.jid=vm@site.example\n", system)
    assert answer.texts == [
        "warning 2: [ucvm-agent] xmpp.jid: there is no password beside it, and that of agent.toml is not for this"
        " account"
    ]


def test_any_password_survives_the_file(system: System) -> None:
    """Whatever TOML has a meaning for."""
    password = "\"'\\\x7f\t# ü\U0001f600"
    text = ACCOUNT.replace("hunter2", '"' + '\\"\'\\\\\\x7f\\t# ü\U0001f600"')
    assert settings(ask(Agent(), text, system))["xmpp"]["password"] == password


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"[xmpp\n", "not TOML"),
        (b"\xff", "not TOML"),
        (b'[xmpp]\npassword = ["hunter2"]\n', "xmpp.password"),
        (b'[xmpp]\njdi = "hunter2"\n', "xmpp.jdi"),
        (b'state_dir = "/x"\n[sources]\n', "cannot set sources, state_dir"),
    ],
)
def test_the_action_takes_only_what_the_agent_will_take(content: bytes, told: str) -> None:
    """Somebody else's contextualizer can yield it, too; a wrong file would be ignored at the next boot."""
    with pytest.raises(ValueError, match=told) as caught:
        WriteSettings(content=content)
    assert "hunter2" not in str(caught.value)


def test_a_change_is_shown_without_its_secrets(tmp_path: Path, system: System) -> None:
    """Neither the new one nor the old one, and not even that they differ in more than that."""
    old = WriteSettings(content=b'[http]\ntoken = "hunter2"\nurl = "https://a.example/"\n')
    furnish(tmp_path, {CONTEXT_FILE: old.content.decode()})
    (tmp_path / CONTEXT_FILE[1:]).chmod(0o600)
    new = replace(old, content=old.content.replace(b"hunter2", b"hunter3"))
    assert new.digest() != old.digest()
    assert new.preview(system).diff.endswith("only secrets change (hidden)\n")
    shown = replace(old, content=old.content.replace(b"a.example", b"b.example")).preview(system).diff
    assert '-url = "https://a.example/"\n+url = "https://b.example/"\n' in shown
    assert "hunter" not in shown + repr(new)
    furnish(tmp_path, {CONTEXT_FILE: "password = hunter2"})
    assert "hunter" not in old.preview(system).diff


def test_what_user_data_may_set_are_tables_without_a_say_in_user_data() -> None:
    """A context that could set these would change what it is itself, or lose the state."""
    assert not {"root", "state_dir", "stop_timeout", "log", "sources", "include", "contextualize", "cluster"} & set(
        CONTEXT_TABLES
    )
