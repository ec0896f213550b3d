"""The agent's own settings: how a machine that has nothing but its user-data learns who its controllers are.

    #cloud-config
    ucvm_agent:
      xmpp: {jid: vm7@example.org, password: …, controllers: [jm@example.org]}
      jobs: {enabled: true}

or `xmpp.jid=vm7@example.org` in a section `[ucvm-agent]`, or the names of the original Co-Pilot agent in a section
`[copilot]` (references/copilot-protocol.md, section 4.5).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Any

from pydantic import SecretStr

from ucvm_agent.contextualize.actions import WriteSecretFile, WriteSettings
from ucvm_agent.contextualize.base import (
    Action,
    Context,
    Contextualizer,
    Problem,
    Reads,
    Refusal,
    SecretReference,
    SettingsOptions,
    System,
    remark,
    settings_options,
)

HEADER = "# What the user-data say; the next ones replace it.\n"

SECRET_FILE = "/etc/ucvm-agent/context-{table}-{name}"  # noqa: S105 - a path
"""Where a secret is put that the user-data only refer to."""

COPILOT = {
    ("xmpp", "host"): "[copilot] agent_jabber_server",
    ("xmpp", "password"): "[copilot] agent_jabber_password",
    ("xmpp", "controllers"): "[copilot] jm_jabber_address",
    ("jobs", "work_dir"): "[copilot] agent_work_dir",
}


class AgentOptions(SettingsOptions):
    """The settings, and what the original Co-Pilot agent has two settings for."""

    copilot_id: Annotated[str, Reads("[copilot] agent_jabber_id")] = ""
    copilot_domain: Annotated[str, Reads("[copilot] agent_jabber_domain")] = ""


class Agent(Contextualizer[AgentOptions]):
    """Writes the settings file of the context, or takes back what an earlier context set.

    A context that a controller gave, and that says nothing of settings, takes none back: the machine would be out of
    its reach. Where something is refused, the settings that are in force stay: whoever gave them hears of it.
    """

    name = "agent"
    options = settings_options(AgentOptions, COPILOT)

    def plan(self, options: AgentOptions, context: Context, system: System) -> Iterable[Action]:
        """Yield the file, and files for secrets that are kept elsewhere."""
        tables = _tables(options, context)
        there = system.status(WriteSettings().target)
        in_force = there is not None and there.size > 0
        if in_force and not options.is_complete(context):
            return
        if tables:
            yield from _fetch_secrets(tables)
            yield WriteSettings(content=_toml(tables))
        elif in_force and not context.metadata.sequence:
            yield WriteSettings()

    def remarks(self, options: AgentOptions, context: Context, system: System) -> Iterable[Problem]:
        """Warn of an account without a password, which the agent does not take from elsewhere."""
        given = options.given.get("xmpp", {})
        if given.get("jid") and not {"password", "password_file"} & given.keys():
            for key in ("ucvm_agent.xmpp.jid", "[ucvm-agent] xmpp.jid"):
                if entry := context.entry(key):
                    message = "there is no password beside it, and that of agent.toml is not for this account"
                    yield remark(context, entry.path, message, "write xmpp.password or xmpp.password_file, too")


def _tables(options: AgentOptions, context: Context) -> dict[str, dict[str, Any]]:
    tables = options.given
    if options.copilot_id:
        domain = options.copilot_domain or tables.get("xmpp", {}).get("host")
        if not domain:
            raise Refusal("[copilot] agent_jabber_id", "there is no AGENT_JABBER_DOMAIN beside it")
        tables.setdefault("xmpp", {}).setdefault("jid", f"{options.copilot_id}@{domain}")
    if tables and "[copilot]" in context.values:
        # Work is all that the original agent is for.
        tables.setdefault("jobs", {}).setdefault("enabled", True)
    return tables


def _fetch_secrets(tables: dict[str, dict[str, Any]]) -> Iterator[Action]:
    """Yield a file for each secret that is given by reference, and name the file instead of it."""
    for table, settings in tables.items():
        for name, value in list(settings.items()):
            if isinstance(value, SecretReference):
                path = SECRET_FILE.format(table=table, name=name)
                yield WriteSecretFile(path=path, source=value)
                del settings[name]
                settings[f"{name}_file"] = path


def _toml(tables: dict[str, dict[str, Any]]) -> bytes:
    import tomli_w  # for those who have settings only: a dry run has to start fast

    for settings in tables.values():
        for name, value in settings.items():
            if isinstance(value, SecretStr):
                settings[name] = value.get_secret_value()
    return (HEADER + tomli_w.dumps(tables)).encode()
