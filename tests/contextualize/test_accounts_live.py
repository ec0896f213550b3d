"""Groups, users and keys of the running system, whose own tools are used."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

from tests.contextualize.account_root import KEY
from tests.contextualize.namespaces import needs_namespaces, run_apart

LIVE = """
import asyncio, subprocess, sys
from pathlib import Path
from pydantic import SecretStr
from ucvm_agent.contextualize.actions import AuthorizeKeys, Effect, EnsureGroup, EnsureUser
from ucvm_agent.contextualize.actions import account_tools
from ucvm_agent.contextualize.system import System
from ucvm_agent.contextualize.target import Target

tools = set()
run_tool = account_tools.run_tool

async def noted(system, name, *arguments, **options):
    assert not any("geheim" in argument or "$6$" in argument for argument in arguments)
    tools.add(name)
    await run_tool(system, name, *arguments, **options)

account_tools.run_tool = noted

async def main():
    runs = Path(sys.argv[1])
    runs.mkdir()
    target = Target(System(Path("/")), runs, "key", set())
    actions = [
        EnsureGroup(name="zz-grid", gid=4321, members=("zz-later", "zz-atlas")),
        EnsureUser(name="zz-atlas", uid=4322, groups=("zz-grid",), password=SecretStr("geheim"), gecos="A",
                   expire_date="2031-12-31"),
        EnsureUser(name="zz-atlas", shell="/bin/bash", groups=("users",), lock_password=True),
        EnsureUser(name="zz-system", system=True),
        EnsureGroup(name="zz-grid", members=("zz-system",)),
        AuthorizeKeys(user="zz-atlas", keys=("%s",)),
    ]
    for action in actions:
        await action.apply(target)
        assert action.preview(target.system).effect is Effect.NONE, action.preview(target.system)
    async with asyncio.TaskGroup() as group:
        for number in range(6):
            group.create_task(EnsureUser(name=f"zz-{number}", groups=("zz-grid",)).apply(target))
    print(sorted(tools), flush=True)
    subprocess.run("getent passwd | grep ^zz-a; getent group zz-grid; getent shadow zz-atlas | cut -c1-4;"
                   " getent passwd | grep -c '^zz-[0-9]'; stat -c '%%U %%a' /home/zz-atlas/.ssh/authorized_keys;"
                   " pwck -r -q | grep zz-; chage -l zz-atlas | grep Account", shell=True)

asyncio.run(main())
"""


@needs_namespaces
def test_on_the_running_system_its_own_tools_are_used(tmp_path: Path) -> None:
    """In a mount namespace with copies of /etc and /home, useradd and its kin make the accounts."""
    program = tmp_path / "live.py"
    program.write_text(LIVE % KEY)
    script = textwrap.dedent(f"""
        for folder in /etc /home /var/log; do
            mkdir -p {tmp_path}$folder
            test $folder = /var/log || cp -a $folder/. {tmp_path}$folder
            mount --bind {tmp_path}$folder $folder
        done
        exec {sys.executable} -W error {program} {tmp_path}/runs
    """)
    passwd = Path("/etc/passwd").read_bytes()
    answer = run_apart(script, tmp_path)
    assert answer.stderr == ""
    lines = answer.stdout.splitlines()
    assert lines[0] == "['chpasswd', 'gpasswd', 'groupadd', 'useradd', 'usermod']"
    assert lines[1] == "zz-atlas:x:4322:4322:A:/home/zz-atlas:/bin/bash"
    assert set(lines[2].split(":")[3].split(",")) >= {"zz-later", "zz-atlas", "zz-system", "zz-0", "zz-5"}
    assert lines[3:5] == ["zz-a", "6"]
    assert lines[5] == "zz-atlas 600"
    assert lines[6].split(":")[1].strip() == "Dec 31, 2031"
    assert Path("/etc/passwd").read_bytes() == passwd
