"""The command line. Only this module exits.

Exit codes:
    0  fine
    1  internal error
    2  wrong usage or settings
    3  errors in the user-data
    4  no source of user-data answered
    5  some action failed, or no plan can be made
    6  the state file cannot be used
    7  the controller does not answer, or cannot do it now
"""

from __future__ import annotations

import gc
import os
import sys
from typing import NoReturn

from ucvm_agent.cli.commands import daemon, dry_run
from ucvm_agent.cli.parser import parser
from ucvm_agent.process.exits import exit_code


def main() -> NoReturn:
    """Run the program; the console script `ucvm-agent`."""
    gc.disable()  # what a command leaves lying about is not worth looking for; the daemon does
    # Plugins of pydantic would see all that is validated, secrets included, and are slow to look for.
    os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"
    arguments = parser().parse_args()
    command = dry_run if "dry_run" in arguments else arguments.command
    code = exit_code("ucvm-agent", lambda: command(arguments))
    if command is daemon:
        sys.exit(code)
    # Nothing is open any more; clearing the interpreter away would take a twentieth of the whole run.
    sys.stderr.flush()
    os._exit(code)
