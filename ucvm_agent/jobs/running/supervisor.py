"""What stands between the agent and a job, so that the job outlives the agent and its end is known.

    python -P -S -m ucvm_agent.jobs.running.supervisor CONTROL

A program of its own, started in the folder of control (`record.py`) with the order in it. It forks and lets its caller
go as soon as it is known who runs the job. SIGTERM ends the job.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from contextlib import suppress
from pathlib import Path

from ucvm_agent.jobs.running import bell
from ucvm_agent.jobs.running.capture import make_file
from ucvm_agent.jobs.running.cgroup import Cgroup
from ucvm_agent.jobs.running.job import WRAPPER
from ucvm_agent.jobs.running.kernel import PR_SET_CHILD_SUBREAPER, control_process
from ucvm_agent.jobs.running.phase import UNSTARTABLE, Phase
from ucvm_agent.jobs.running.privacy import make_private
from ucvm_agent.jobs.running.record import Beginning, End, Order, Outcome, Validation
from ucvm_agent.jobs.running.signals import Signals
from ucvm_agent.jobs.running.tree import Tree

LOG = "log"
"""File in the folder of control for what should not happen."""


def main(control: Path) -> None:
    """Run the job to its end; the agent sees this process exit as soon as all is set up."""
    order = Order.read(control)
    if order is None:
        sys.exit("there is no order")
    if os.fork():
        os._exit(0)
    signals = Signals()
    control_process(PR_SET_CHILD_SUBREAPER, 1)
    Outcome.keep_room(control)
    cgroup = Cgroup.make(order.unit, order.limits)
    exposed = make_private(control, order.limits.memory) if order.account.other else ""
    path = str(cgroup.path) if cgroup else ""
    if not Beginning.of_this_process(path, exposed).write_once(control):
        if cgroup:
            cgroup.remove()
        sys.exit("the job was given up already")
    _let_go(control)
    outcome = Supervision(order, control, signals, Tree(cgroup)).run()
    outcome.write(control)
    if cgroup:
        cgroup.remove()


def _let_go(control: Path) -> None:
    """Close what the caller waits for."""
    null = os.open("/dev/null", os.O_RDWR)
    log = os.open(control / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for number, target in enumerate((null, null, log)):
        os.dup2(target, number)


class Supervision:
    """A job from its start to the end of all its processes, and its validation after that."""

    def __init__(self, order: Order, control: Path, signals: Signals, tree: Tree) -> None:
        self._order = order
        self._control = control
        self._signals = signals
        self._tree = tree

    def run(self) -> Outcome:
        """Run all of it and return how the job ended."""
        try:
            self._folder = os.open(self._order.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            resources = make_file(self._folder, "resources", self._order.account)
        except OSError as error:
            return Outcome(status=UNSTARTABLE, end=End.UNSTARTABLE, reason=str(error))
        outcome = self._phase(("/bin/sh", f"./{WRAPPER}"), "stdout", "stderr")
        with suppress(OSError), os.fdopen(resources, "w") as file:  # the disk may be full
            file.write(outcome.lines())
        if not self._order.validation or outcome.end in {End.CANCELLED, End.STOPPED, End.UNSTARTABLE}:
            return outcome
        return self._validated(outcome)

    def _validated(self, outcome: Outcome) -> Outcome:
        """Run the validation of a job, whether that went well or not (references, section 3.4)."""
        with suppress(OSError):  # on a full disk the agent learns of it at the end only
            Validation(outcome.status).write(self._control)
            bell.ring(self._control)
        shell = ("/bin/sh", "-c", 'chmod a+x "$0" && exec "$0"', f"./{self._order.validation}")
        result = self._phase(shell, "validate_stdout", "validate_stderr")
        outcome = dataclasses.replace(outcome, validate_status=result.status)
        if result.end in {End.CANCELLED, End.STOPPED}:
            return dataclasses.replace(outcome, end=result.end, reason=result.reason)
        return outcome

    def _phase(self, argv: tuple[str, ...], output: str, errors: str) -> Outcome:
        return Phase(self._order, self._control, self._folder, self._signals, self._tree).run(argv, output, errors)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
