"""The commands that operators can give."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from ucvm_agent.operators.base import Machine
from ucvm_agent.operators.text import sendable

STREAMS = ("stdout", "stderr")

Values = Mapping[str, str]
"""What an operator has filled in, by the names of the fields."""


@dataclass(frozen=True, slots=True)
class Field:
    """Something to fill in.

    Arguments:
        label: for people.
        choices: what there is to choose from, the usual first; None = any text, which may be left out.
    """

    name: str
    label: str
    choices: Callable[[Machine], Sequence[str]] | None = None


@dataclass(frozen=True, slots=True)
class Command:
    """One command.

    Arguments:
        name: what is typed in a chat.
        title: what a menu shows.
        run: does it for an operator, and returns what to tell them.
        fields: what is asked for first.
        preview: returns what is shown first, to be confirmed.
        offered: whether it makes sense on this machine.
        keep_end: of an answer that is too long, its end is what matters.
    """

    name: str
    title: str
    run: Callable[[Machine, str, Values], Awaitable[str]]
    fields: tuple[Field, ...] = ()
    preview: Callable[[Machine, str], Awaitable[str]] | None = None
    offered: Callable[[Machine], bool] = lambda machine: True
    keep_end: bool = False

    @property
    def usage(self) -> str:
        """How it is typed in a chat."""
        return " ".join([self.name, *(f"[{field.name}]" for field in self.fields)])


async def _explain_shutdown(machine: Machine, who: str) -> str:
    jobs = len(machine.job_ids())
    return f"The machine is shut down{f'; its jobs are given back: {jobs}' if jobs else ''}."


def _takes_jobs(machine: Machine) -> bool:
    return machine.takes_jobs


_JOB = Field("job", "Job", lambda machine: machine.job_ids())

COMMANDS = (
    Command("status", "Show the status", lambda machine, who, values: machine.status(who)),
    Command("jobs", "List the jobs", lambda machine, who, values: machine.jobs(who), offered=_takes_jobs),
    Command(
        "tail",
        "Show what a job writes",
        lambda machine, who, values: machine.tail(who, values["job"], values["stream"]),
        fields=(_JOB, Field("stream", "Stream", lambda machine: STREAMS)),
        offered=_takes_jobs,
        keep_end=True,
    ),
    Command(
        "pause",
        "Take no more jobs for now",
        lambda machine, who, values: machine.pause(who),
        offered=_takes_jobs,
    ),
    Command("resume", "Take jobs again", lambda machine, who, values: machine.resume(who), offered=_takes_jobs),
    Command(
        "drain",
        "Finish the jobs and take no more, over restarts too",
        lambda machine, who, values: machine.drain(who, values["reason"]),
        fields=(Field("reason", "Reason"),),
        offered=_takes_jobs,
    ),
    Command(
        "cancel",
        "Cancel a job",
        lambda machine, who, values: machine.cancel(who, values["job"]),
        fields=(_JOB,),
        offered=_takes_jobs,
    ),
    Command(
        "recontextualize",
        "Look for user-data anew and apply it",
        lambda machine, who, values: machine.recontextualize(who),
        preview=lambda machine, who: machine.rehearse(who),
    ),
    Command(
        "shutdown",
        "Shut the machine down",
        lambda machine, who, values: machine.shut_down(who),
        preview=_explain_shutdown,
        offered=lambda machine: machine.allows_shutdown,
    ),
)


def offered(machine: Machine) -> tuple[Command, ...]:
    """Return the commands that make sense on a machine."""
    return tuple(command for command in COMMANDS if command.offered(machine))


async def obey(command: Command, machine: Machine, who: str, given: Values) -> str:
    """Do what an operator wants, and return what to tell them, as it can be sent.

    Arguments:
        who: bare JID.
        given: of the fields; one that is missing or empty is filled with what is usual, if anything is.

    Raises:
        UcvmError: it cannot be done.
    """
    values = {field.name: given.get(field.name, "").strip() or _usual(field, machine) for field in command.fields}
    return sendable(await command.run(machine, who, values), keep_end=command.keep_end)


def _usual(field: Field, machine: Machine) -> str:
    return next(iter(field.choices(machine)), "") if field.choices else ""
