"""The settings that the command line gives, over all others."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ucvm_agent.errors import UsageError

if TYPE_CHECKING:
    import argparse

    from ucvm_agent.settings import Settings
    from ucvm_agent.settings.layers import Effective


def read_effective(arguments: argparse.Namespace, *, with_context: bool = True) -> Effective[Settings]:
    """Return the settings in force, with where each was set.

    Arguments:
        with_context: False leaves out what the user-data said.

    Raises:
        SettingsError: a setting is wrong.
        UsageError: options contradict each other.
    """
    from ucvm_agent.settings.layers import load

    options: dict[str, Any] = {}
    if "root" in arguments:
        options["root"] = arguments.root
    if "log_level" in arguments:
        options["log"] = {"level": arguments.log_level}
    if "source" in arguments:
        options["sources"] = {"names": (arguments.source,)}
    if "device" in arguments:
        if "source" not in arguments:
            raise UsageError("--device is of no use without --source", hint="for example --source configdrive")
        options["sources"][arguments.source] = {"device": arguments.device}
    if "user_data" in arguments:
        options["sources"] = {"names": ("file",), "file": {"path": arguments.user_data}}
    kernel = Path("/proc/cmdline").read_text()
    return load(getattr(arguments, "config", None), os.environ, kernel, options, with_context=with_context)


def read_settings(arguments: argparse.Namespace) -> Settings:
    """Return the settings for a command that talks to a person, who wants to see warnings only."""
    from ucvm_agent.process import log
    from ucvm_agent.stages.place import boot_id

    effective = read_effective(arguments)
    warn_of_refused(effective)
    settings = effective.settings
    quiet = (
        settings.log if ("log", "level") in effective.origins else settings.log.model_copy(update={"level": "warning"})
    )
    log.configure(quiet, log.Stamp(boot_id()))
    return settings


def warn_of_refused(effective: Effective[Settings]) -> None:
    """Tell a person that settings of the user-data do not count, if they do not."""
    if effective.refused is not None:
        print(f"ucvm-agent: settings of the user-data are left out: {effective.refused}", file=sys.stderr)
