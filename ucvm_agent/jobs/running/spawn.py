"""Starting a program as the account of jobs, inside its limits."""

from __future__ import annotations

import os
import resource
import signal
from dataclasses import dataclass
from pathlib import Path

from ucvm_agent.jobs.running.account import Account
from ucvm_agent.jobs.running.cgroup import Cgroup
from ucvm_agent.jobs.running.kernel import PR_SET_NO_NEW_PRIVS, PR_SET_PDEATHSIG, control_process
from ucvm_agent.jobs.running.limits import Limits
from ucvm_agent.jobs.running.tree import tasks_of


@dataclass(frozen=True)
class Program:
    """A program of a job.

    Arguments:
        argv: never goes through a shell.
        folder: the job's, open; the program starts in it.
        home: its path.
        output, errors: where its output goes; its input is empty.
    """

    argv: tuple[str, ...]
    folder: int
    home: str
    output: int
    errors: int


def spawn(program: Program, account: Account, limits: Limits, cgroup: Cgroup | None) -> int:
    """Start the program and return its process.

    Raises:
        OSError: it cannot be started.
    """
    failed, report = os.pipe()
    tasks = tasks_of(account.uid)
    pid = os.fork()
    if pid == 0:
        try:
            _isolate(account, limits, cgroup, tasks)
            _execute(program, account)
        except OSError as error:
            os.write(report, str(error.errno or 0).encode())
        finally:
            os._exit(127)
    os.close(report)
    with os.fdopen(failed, "rb") as file:
        number = file.read()
    if number:
        os.waitpid(pid, 0)
        raise OSError(int(number), os.strerror(int(number)))
    return pid


def _isolate(account: Account, limits: Limits, cgroup: Cgroup | None, tasks: int) -> None:
    if cgroup:
        cgroup.enter()
    os.setsid()
    Path("/proc/self/oom_score_adj").write_text("500")  # when memory is short, rather a job than the agent
    _limit(limits, cgroup, tasks)
    os.umask(0o022)
    account.become()
    control_process(PR_SET_NO_NEW_PRIVS, 1)  # no set-user-ID program gets it out of its account
    control_process(PR_SET_PDEATHSIG, signal.SIGKILL)


def _limit(limits: Limits, cgroup: Cgroup | None, tasks: int) -> None:
    """Set the limits of each process, and by them what the kernel's cgroup does not keep.

    Arguments:
        tasks: that the account has already, in other jobs: RLIMIT_NPROC counts all.
    """
    _lower(resource.RLIMIT_CORE, 0)
    if limits.disk:
        _lower(resource.RLIMIT_FSIZE, limits.disk)
    if limits.processes and not (cgroup and cgroup.controls("pids")):
        _lower(resource.RLIMIT_NPROC, tasks + limits.processes)
    if limits.memory and not (cgroup and cgroup.controls("memory")):
        _lower(resource.RLIMIT_DATA, limits.memory)


def _lower(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))


def _execute(program: Program, account: Account) -> None:
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)  # Python ignores them, and that would be inherited
    os.fchdir(program.folder)
    null = os.open("/dev/null", os.O_RDONLY)
    for target, source in enumerate((null, program.output, program.errors)):
        os.dup2(source, target)
    os.execve(program.argv[0], program.argv, account.environment(program.home))  # noqa: S606 - that is the point
