"""All first-party contextualizers together, on a real root."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from contextualizers.agent import Agent
from contextualizers.bootloader import Bootloader
from contextualizers.cernvm import CernVM
from contextualizers.certificates import Certificates
from contextualizers.cvmfs import CVMFS
from contextualizers.desktop import Desktop
from contextualizers.hostname import Hostname
from contextualizers.locale import Locale
from contextualizers.scripts import Scripts, ScriptsBefore
from contextualizers.ssh_keys import SSHKeys
from contextualizers.sshd import SSHD
from contextualizers.users import Users
from contextualizers.write_files import WriteFiles, WriteFilesDeferred
from tests.contextualizers.ask import KEY
from ucvm_agent.contextualize.actions import Action, Effect, RunCommand, RunScript, WriteFile
from ucvm_agent.contextualize.base import Context, Contextualizer, Options
from ucvm_agent.contextualize.plan import Plan, make_plan
from ucvm_agent.contextualize.system import System
from ucvm_agent.contextualize.target import Target
from ucvm_agent.sources.base import Found, Metadata
from ucvm_agent.userdata.context import Severity
from ucvm_agent.userdata.decode import decode

ALL: list[Contextualizer[Any]] = [
    Agent(),
    Bootloader(),
    CernVM(),
    Certificates(),
    CVMFS(),
    Desktop(),
    Hostname(),
    Locale(),
    Scripts(),
    ScriptsBefore(),
    SSHKeys(),
    SSHD(),
    Users(),
    WriteFiles(),
    WriteFilesDeferred(),
]

MIXED = f"""#!/bin/sh.before
echo CVMFS_QUOTA_LIMIT=10000 > /etc/cvmfs/default.local
exit 0

[amiconfig]
plugins=cernvm disablesshpasswdauth

[cernvm]
organisations=ATLAS
repositories=atlas,sft
users=atlas:physics:secret
environment=A=b
keyboard=us
desktop_icons=Read~Me,W0Rlc2t0b3AgRW50cnldCg==

[ucernvm-begin]
cvmfs_http_proxy="http://squid:3128;DIRECT"
[ucernvm-end]

#cloud-config
hostname: web.example.org
timezone: Europe/Zurich
groups: [science]
users:
  - default
  - {{name: alice, groups: [science], sudo: "ALL=(ALL) ALL", ssh_authorized_keys: ["{KEY}"]}}
write_files:
  - {{path: /srv/data/hello, content: hello, owner: "alice:science", permissions: "0600"}}
  - {{path: /srv/log, content: "line\\n", append: true, defer: true}}
runcmd: [echo done]
"""


class Site(Contextualizer[Options]):
    """A third party's, which says nothing of its order."""

    name = "site"
    options = Options

    def plan(self, options: Options, context: Context, system: System) -> Iterable[Action]:
        if context.scripts:
            yield WriteFile(path="/etc/site", content=b"")


def plan(text: str, root: Path) -> Plan:
    """Return what all of them want."""
    metadata = Metadata(instance_id="i-1", hostname="vm", public_keys=(KEY,))
    context = decode(Found("file", "test", text.encode(), metadata=metadata))
    return make_plan(context, System(root), [*ALL, Site()])


def test_they_can_be_ordered_and_scripts_are_first_and_last(system: System) -> None:
    """No two contradict each other, and no script runs amidst the rest, third parties' included."""
    steps = plan(MIXED, system.root).steps
    assert steps[0].contextualizer == "scripts_before"
    assert [step.contextualizer for step in steps[-2:]] == ["write_files_deferred", "scripts"]
    assert all(step.waits_for for step in steps[1:])
    last = len(steps) - 1
    waiting, seen = [last], set[int]()
    while waiting:
        seen.add(position := waiting.pop())
        waiting += [each for each in steps[position].waits_for if each not in seen]
    assert seen == set(range(len(steps)))


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to other users")
async def test_what_was_done_once_is_found_done(system: System, tmp_path: Path) -> None:
    """A second plan for the changed system wants nothing any more but the commands."""
    first = plan(MIXED, system.root)
    assert [problem for problem in first.problems if problem.severity is Severity.ERROR] == []
    changed: set[str] = set()
    for step in first.steps:
        if not isinstance(step.action, RunCommand | RunScript):
            await step.action.apply(Target(system, tmp_path / "runs", step.key, changed))
            changed.add(step.action.target)
    second = plan(MIXED, system.root)
    effects = {(step.action.kind, step.action.target): step.action.preview(system).effect for step in second.steps}
    left = {kind for (kind, _), effect in effects.items() if effect is not Effect.NONE}
    assert left == {"script", "command"}
    assert [step.key for step in second.steps] == [step.key for step in first.steps]


@pytest.mark.parametrize("text", ["", "#cloud-config\n{}\n", "#!/bin/sh\nexit 0\n"])
def test_nothing_is_done_that_nobody_asked_for(text: str, system: System) -> None:
    """Only the host name and the keys of the platform come without a context."""
    targets = {step.action.target for step in plan(text, system.root).steps if step.contextualizer != "scripts"}
    assert targets - {"/etc/site"} == {"vm", "/etc/hosts", "root"}
