"""The closed set of things that contextualization can do to a system.

Each action is a small frozen dataclass: data that can be compared, shown and written to the journal. It can
say what it would change, apply itself atomically, and be found already done.
"""

from ucvm_agent.contextualize.actions.accounts import EnsureGroup, EnsureUser
from ucvm_agent.contextualize.actions.authorized_keys import AuthorizeKeys
from ucvm_agent.contextualize.actions.base import Action, Change, Effect, Resource
from ucvm_agent.contextualize.actions.extract import ExtractArchive
from ucvm_agent.contextualize.actions.files import MakeDirectory, MakeLink, WriteFile
from ucvm_agent.contextualize.actions.machine import EnableUnit, RestartUnit, SetHostname
from ucvm_agent.contextualize.actions.run import RunCommand, RunScript
from ucvm_agent.contextualize.actions.secret_files import WriteSecretFile
from ucvm_agent.contextualize.actions.settings_file import WriteSettings

__all__ = [
    "Action",
    "AuthorizeKeys",
    "Change",
    "Effect",
    "EnableUnit",
    "EnsureGroup",
    "EnsureUser",
    "ExtractArchive",
    "MakeDirectory",
    "MakeLink",
    "Resource",
    "RestartUnit",
    "RunCommand",
    "RunScript",
    "SetHostname",
    "WriteFile",
    "WriteSecretFile",
    "WriteSettings",
]
