"""What the show has to show, as a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ucvm_agent.controller.model import Job, JobStatus


@dataclass(frozen=True)
class Evidence:
    """What has become of the jobs.

    Arguments:
        jobs: as the ledger has them at the end.
        runs: how often each has begun to run, as it has written down itself.
        restarts: what was killed, and when.
        orphans: command lines of processes that have outlived their agents.
        seconds: from the start of the controller until the last job ended.
    """

    jobs: Sequence[Job]
    runs: Mapping[str, int]
    restarts: Sequence[str]
    orphans: Sequence[str]
    seconds: float

    def table(self) -> str:
        """Return it for a person."""
        done = [job for job in self.jobs if job.status is JobStatus.DONE]
        repeated = [job for job in self.jobs if job.tries > 1]
        lost = sum(job.tries - 1 for job in self.jobs)
        figures = {
            "jobs": len(self.jobs),
            "handed out": sum(job.tries for job in self.jobs),
            "done": len(done),
            "done again after a loss": len(repeated),
            "lost and put back": lost,
            "begun to run": sum(self.runs.values()),
            "orphan processes": len(self.orphans),
            "seconds": round(self.seconds, 1),
        }
        lines = [f"{name:<24}{value:>8}" for name, value in figures.items()]
        agents = Counter(job.result.agent.partition("@")[0] for job in done if job.result)
        lines += [f"{'done by ' + name:<24}{count:>8}" for name, count in sorted(agents.items())]
        again = [f"{job.id}: {job.tries} tries, begun {self.runs.get(job.id, 0)} times" for job in repeated]
        return "\n".join([*lines, *self.restarts, *again])
