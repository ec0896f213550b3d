"""The daemon as its users meet it: a process, a root file system, a metadata service, a controller."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import signal
import socket
from pathlib import Path

import pytest

from tests.daemon.running import Controller, Daemon
from tests.servers.imds import Imds
from tests.servers.ports import LOOPBACK, free_port
from ucvm_agent.events import ActionEnded, Note

CONTEXT = b"""\
#!/bin/sh
echo ran >> /var/log/script
exit 0

[ucernvm-begin]
cvmfs_http_proxy="http://squid.example.org:3128;DIRECT"
[ucernvm-end]

[cernvm]
users=atlas:atlas:hunter2

#cloud-config
hostname: worker-1
"""


def ec2(imds: Imds) -> dict[str, dict[str, object]]:
    return {"sources": {"names": ["ec2"]}, "sources.ec2": {"endpoints": [imds.url]}}


def file_of(tmp_path: Path, text: str) -> dict[str, dict[str, object]]:
    path = tmp_path / "user-data"
    path.write_text(text)
    return {"sources": {"names": ["file"], "deadline": 1.0}, "sources.file": {"path": str(path)}}


async def test_from_start_to_stop(controller: Controller, daemon: Daemon) -> None:
    """It finds its user-data, becomes what that says, tells its controller each step, and stops in good order."""
    async with Imds(CONTEXT) as imds:
        daemon.configure(controller, **ec2(imds))
        await daemon.start()
        code, _, _ = await daemon.command("status", "--wait")
        assert code == 0
        code, output, _ = await daemon.command("status", "--json")
        status = json.loads(output)
        assert (status["state"], status["source"], status["running"]) == ("ready", "ec2", True)
        assert {entry["outcome"] for entry in status["actions"]} == {"done"}
        assert (daemon.root / "etc/hostname").read_text() == "worker-1\n"
        assert (daemon.root / "var/log/script").read_text() == "ran\n"
        assert "atlas:" in (daemon.root / "etc/passwd").read_text()
        assert "squid.example.org:3128;DIRECT" in (daemon.root / "etc/cvmfs/default.local").read_text()
        assert await daemon.end() == 0
    await controller.state("stopped")
    assert controller.states == ["booting", "discovering", "contextualizing", "ready", "draining", "stopped"]
    assert [event.seq for event in controller.events] == list(range(1, len(controller.events) + 1))


async def test_a_second_start_does_nothing_twice(controller: Controller, daemon: Daemon) -> None:
    """The same context again changes nothing, and says so."""
    async with Imds(CONTEXT) as imds:
        daemon.configure(controller, **ec2(imds))
        for times in (1, 2):
            await daemon.start()
            await controller.state("ready", times=times)
            assert await daemon.end() == 0
    ended = [event.body for event in controller.events if event.body.kind == "contextualized"]
    assert (ended[1].changed, ended[1].failed, ended[1].unchanged) == (0, 0, ended[0].changed + ended[0].unchanged)
    assert (daemon.root / "var/log/script").read_text() == "ran\n"


async def test_kill_9_while_a_script_runs(controller: Controller, daemon: Daemon, tmp_path: Path) -> None:
    """The script goes on by itself; the next start takes its result and does not run it again."""
    gate = daemon.root / "tmp/gate"
    os.mkfifo(gate)
    os.mkfifo(daemon.root / "tmp/begun")
    script = "#!/bin/sh\nexec >> /var/log/script\necho begun\necho > /tmp/begun\nread line < /tmp/gate\necho ended\n"
    daemon.configure(controller, **file_of(tmp_path, script))
    await daemon.start()
    await asyncio.to_thread((daemon.root / "tmp/begun").read_text)
    await daemon.end(signal.SIGKILL)
    await daemon.start()
    await controller.state("contextualizing", times=2)
    await asyncio.to_thread(gate.write_text, "go\n")
    await controller.state("ready")
    assert (daemon.root / "var/log/script").read_text() == "begun\nended\n"
    done = [event.body for event in controller.events if isinstance(event.body, ActionEnded)]
    assert [(body.action, body.result) for body in done if body.action == "script"] == [("script", "done")]


async def test_a_stop_does_not_wait_for_ever(controller: Controller, daemon: Daemon, tmp_path: Path) -> None:
    """SIGTERM gives a running script until the stop timeout, and no longer; the controller is told."""
    os.mkfifo(daemon.root / "tmp/gate")
    daemon.configure(controller, **file_of(tmp_path, "#!/bin/sh\nread line < /tmp/gate\n"))
    await daemon.start()
    await controller.state("contextualizing")
    assert await daemon.end(within=10) == 0
    await controller.state("stopped")
    assert controller.states[-2:] == ["draining", "stopped"]
    assert "1 interrupted" in (await daemon.command("status"))[1]
    await asyncio.to_thread((daemon.root / "tmp/gate").write_text, "go\n")


async def test_a_failed_action_degrades_and_is_tried_again(
    controller: Controller, daemon: Daemon, tmp_path: Path
) -> None:
    """The rest is done, the reason reaches the controller and `status`, and the next start mends it."""
    daemon.configure(
        controller, **file_of(tmp_path, "#!/bin/sh\ntest -e /tmp/there || exit 3\n\n#cloud-config\nhostname: w\n")
    )
    await daemon.start()
    state = await controller.state("degraded")
    assert "exit status 3" in state.reason
    assert (daemon.root / "etc/hostname").read_text() == "w\n"
    code, output, _ = await daemon.command("status", "--wait")
    assert code == 5
    assert "degraded since" in output
    assert "exit status 3" in output
    await daemon.end()
    (daemon.root / "tmp/there").touch()
    await daemon.start()
    await controller.state("ready")


async def test_no_source(controller: Controller, daemon: Daemon, tmp_path: Path) -> None:
    """It comes up all the same, says why it has nothing to do, and finds a source that appears later."""
    path = tmp_path / "late"
    daemon.configure(
        controller,
        sources={"names": ["file"], "deadline": 1.0, "search_pause": 0.2},
        **{"sources.file": {"path": str(path)}},
    )
    await daemon.start()
    state = await controller.state("degraded")
    assert "no user-data" in state.reason
    assert str(path) in state.reason
    fresh = tmp_path / "fresh"
    fresh.write_text("#cloud-config\nhostname: late\n")
    fresh.rename(path)
    await controller.state("ready")
    assert (daemon.root / "etc/hostname").read_text() == "late\n"


async def test_what_is_waited_for_is_told_once(controller: Controller, daemon: Daemon) -> None:
    """While no source answers, the controller hears each reason, but not at every try."""
    dark = {"endpoints": [f"http://{LOOPBACK}:{free_port()}"]}
    daemon.configure(controller, sources={"names": ["ec2"], "deadline": 2.5}, **{"sources.ec2": dark})
    await daemon.start()
    await controller.state("degraded")
    notes = [event.body.message for event in controller.events if isinstance(event.body, Note)]
    assert len(notes) == 1
    assert notes[0].startswith("still looking for user-data: ec2: ")
    assert "no connection" in notes[0]


async def test_a_boot_without_network_goes_by_the_last_context(
    controller: Controller, daemon: Daemon, tmp_path: Path
) -> None:
    """What an earlier boot was told still holds when nobody answers."""
    settings = file_of(tmp_path, "#cloud-config\nhostname: kept\n")
    daemon.configure(controller, **settings)
    await daemon.start()
    await controller.state("ready")
    await daemon.end()
    (tmp_path / "user-data").unlink()
    await daemon.start()
    await controller.state("ready", times=2)
    notes = [event.body.message for event in controller.events if isinstance(event.body, Note)]
    assert any("earlier boot" in message for message in notes)


async def test_user_data_beyond_all_bounds_fails_with_its_reason(
    controller: Controller, daemon: Daemon, tmp_path: Path
) -> None:
    """Nothing is done, the daemon stays up and says why."""
    daemon.configure(controller, **file_of(tmp_path, ""))
    (tmp_path / "user-data").write_bytes(gzip.compress(b"#" * (17 << 20)))
    await daemon.start()
    state = await controller.state("failed")
    assert "16 MiB" in state.reason
    assert await daemon.end() == 0


async def test_sighup_reads_the_settings_again(controller: Controller, daemon: Daemon, tmp_path: Path) -> None:
    """New settings count at once; wrong ones are told about and change nothing."""
    daemon.configure(controller, **file_of(tmp_path, "#cloud-config\nhostname: one\n"))
    await daemon.start()
    await controller.state("ready")
    good = daemon.config.read_text()
    daemon.config.write_text(good + "[xmpp]\njidd = 1\n")
    daemon.hang_up()
    note = await controller.note()
    assert "xmpp.jidd" in note.message
    daemon.config.write_text(good)
    (tmp_path / "user-data").write_text("#cloud-config\nhostname: two\n")
    daemon.hang_up()
    await controller.state("ready", times=2)
    assert controller.states.count("discovering") == 2
    assert (daemon.root / "etc/hostname").read_text() == "two\n"


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ('[xmpp]\njid = "nobody"\n', "xmpp.jid"),
        ('[xmpp]\njid = "vm@site.example"\ncontrollers = ["@"]\n', "xmpp.controllers"),
        ('[sources]\nnames = ["fiel"]\n', "did you mean file"),
    ],
)
async def test_impossible_values_at_sighup_change_nothing(
    controller: Controller, daemon: Daemon, tmp_path: Path, wrong: str, told: str
) -> None:
    """What is only found out when it is used is found out before it is taken over; at a start it is exit code 2."""
    settings = file_of(tmp_path, "#cloud-config\nhostname: one\n")
    daemon.configure(controller, **settings)
    await daemon.start()
    await controller.state("ready")
    del settings["sources"]
    daemon.configure(controller, **settings)
    daemon.config.write_text(daemon.config.read_text() + wrong)
    daemon.hang_up()
    assert told in (await controller.note()).message
    assert await daemon.end() == 0
    await controller.state("stopped")
    assert controller.states.count("ready") == 1
    code, _, errors = await daemon.command()
    assert code == 2
    assert told in errors


async def test_a_storm_of_sighups_holds_up_no_stop(controller: Controller, daemon: Daemon, tmp_path: Path) -> None:
    """However often it is told to read its settings, it ends in order, and each event is reported once."""
    daemon.configure(controller, **file_of(tmp_path, "#!/bin/sh\necho ran >> /var/log/script\n"))
    await daemon.start()
    await controller.state("discovering")
    for _ in range(50):
        daemon.hang_up()
    assert await daemon.end(within=10) == 0
    await controller.state("stopped")
    assert [event.seq for event in controller.events] == list(range(1, len(controller.events) + 1))
    await daemon.start()
    await controller.state("ready")
    assert (daemon.root / "var/log/script").read_text() == "ran\n"


async def test_a_cloned_disk_becomes_a_machine_of_its_own(controller: Controller, daemon: Daemon) -> None:
    """Another instance-id means another machine: it reports under a new name, and its scripts run for it."""
    context = b"#!/bin/sh\necho ran >> /var/log/script\n"
    for times, instance in enumerate(("i-0123456789abcdef0", "i-0fedcba9876543210"), start=1):
        async with Imds(context, instance_id=instance) as imds:
            daemon.configure(controller, **ec2(imds))
            await daemon.start()
            await controller.state("ready", times=times)
            if times == 2:
                # The connections are made anew under the new name.
                await controller.state("discovering", times=3)
                await controller.state("ready", times=3)
            assert await daemon.end() == 0
    await controller.state("stopped", times=2)
    assert len({event.machine_id for event in controller.events}) == 2
    assert [event.seq for event in controller.events] == list(range(1, len(controller.events) + 1))
    assert (daemon.root / "var/log/script").read_text() == "ran\nran\n"


async def test_systemd_is_patient_with_a_slow_context(controller: Controller, daemon: Daemon, tmp_path: Path) -> None:
    """It is asked to wait while a script runs, and told that the agent is up even though the context failed."""
    os.mkfifo(daemon.root / "tmp/gate")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        daemon.environment = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
        daemon.configure(controller, **file_of(tmp_path, "#!/bin/sh\nread line < /tmp/gate\nexit 1\n"))
        await daemon.start()
        await controller.state("contextualizing")
        await asyncio.to_thread((daemon.root / "tmp/gate").write_text, "go\n")
        told = [await asyncio.to_thread(manager.recv, 4096)]
        while told[-1] != b"READY=1":
            told.append(await asyncio.to_thread(manager.recv, 4096))
    assert b"EXTEND_TIMEOUT_USEC=30000000" in told
    assert told[-2].startswith(b"STATUS=degraded: script user-data: it ended with exit status 1")


async def test_systemd_is_told(controller: Controller, daemon: Daemon, tmp_path: Path) -> None:
    """READY comes after contextualization, WATCHDOG regularly, STOPPING at the end, STATUS with each state."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        daemon.environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "100000"}
        daemon.configure(controller, **file_of(tmp_path, "#cloud-config\nhostname: one\n"))
        await daemon.start()
        told = [await asyncio.to_thread(manager.recv, 4096)]
        while b"READY=1" not in told or told[-1] != b"WATCHDOG=1":
            told.append(await asyncio.to_thread(manager.recv, 4096))
        assert told.index(b"STATUS=ready") < told.index(b"READY=1")
        assert await daemon.end() == 0
        while told[-1] != b"STATUS=stopped":
            told.append(await asyncio.to_thread(manager.recv, 4096))
        assert b"STOPPING=1\nEXTEND_TIMEOUT_USEC=5000000" in told


async def test_a_file_that_changes_while_the_daemon_runs(
    controller: Controller, daemon: Daemon, tmp_path: Path
) -> None:
    """Only what differs is done: commands that stay are not run again."""
    text = "#cloud-config\nhostname: {}\nruncmd:\n- echo ran >> /var/log/script\n"
    daemon.configure(controller, **file_of(tmp_path, text.format("worker-1")))
    await daemon.start()
    await controller.state("ready")
    (tmp_path / "user-data").write_text(text.format("worker-2"))
    await controller.state("ready", times=2)
    assert (daemon.root / "etc/hostname").read_text() == "worker-2\n"
    assert (daemon.root / "var/log/script").read_text() == "ran\n"
