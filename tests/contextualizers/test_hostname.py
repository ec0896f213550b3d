"""The host name and /etc/hosts."""

from __future__ import annotations

import pytest

from contextualizers.hostname import Hostname, with_own_line
from tests.contextualizers.ask import ask
from ucvm_agent.contextualize.actions import SetHostname, WriteFile
from ucvm_agent.contextualize.base import Refusal
from ucvm_agent.contextualize.system import System
from ucvm_agent.sources.base import Metadata

PLATFORM = Metadata(hostname="ip-10-0-0-1.ec2.internal")


def hosts(line: str) -> WriteFile:
    """Return the action that adds this line to the hosts of the fixture."""
    return WriteFile(path="/etc/hosts", content=f"127.0.0.1 localhost\n{line}\n::1 localhost\n".encode())


@pytest.mark.parametrize(
    ("keys", "name", "line"),
    [
        ("hostname: web", "web", "127.0.1.1 web"),
        ("hostname: web.example.org", "web", "127.0.1.1 web.example.org web"),
        ("fqdn: web.example.org", "web", "127.0.1.1 web.example.org web"),
        ("hostname: www\nfqdn: web.example.org", "www", "127.0.1.1 web.example.org www"),
        ("fqdn: web.example.org\nprefer_fqdn_over_hostname: true", "web.example.org", "127.0.1.1 web.example.org web"),
        ("manage_etc_hosts: localhost", "ip-10-0-0-1", "127.0.1.1 ip-10-0-0-1.ec2.internal ip-10-0-0-1"),
        ("hostname: 4711", "4711", "127.0.1.1 4711"),
    ],
)
def test_a_name_is_split_as_cloud_init_does(keys: str, name: str, line: str, system: System) -> None:
    """The first label is the host name; /etc/hosts gets the full name too; the platform's name is the last resort."""
    answer = ask(Hostname(), f"#cloud-config\n{keys}\n", system, PLATFORM)
    assert answer.actions == [SetHostname(hostname=name), hosts(line)]
    assert answer.texts == []


def test_the_amiconfig_plugin_names_the_host(system: System) -> None:
    """`[hostname] hostname` works as the key of cloud-config does."""
    answer = ask(Hostname(), "[hostname]\nhostname=worker7\n", system, PLATFORM)
    assert answer.actions == [SetHostname(hostname="worker7"), hosts("127.0.1.1 worker7")]


def test_without_any_name_or_with_preserve_nothing_is_done(system: System) -> None:
    """The image's own name stays."""
    assert ask(Hostname(), "#cloud-config\n{}\n", system).actions == []
    assert ask(Hostname(), "#cloud-config\nhostname: web\npreserve_hostname: yes\n", system).actions == []


def test_hosts_can_be_left_alone(system: System) -> None:
    """`manage_etc_hosts: false` sets the name only."""
    answer = ask(Hostname(), "#cloud-config\nhostname: web\nmanage_etc_hosts: false\n", system)
    assert answer.actions == [SetHostname(hostname="web")]


@pytest.mark.parametrize("name", ["web server", "web_7", "-web", "10.0.0.1", f"{'a' * 64}.example"])
def test_an_impossible_name_is_an_error_with_its_line(name: str, system: System) -> None:
    """The platform's name is used instead."""
    answer = ask(Hostname(), f"#cloud-config\nhostname: '{name}'\n", system, PLATFORM)
    assert [text.partition(":")[0] for text in answer.texts] == ["error 2"]
    assert SetHostname(hostname="ip-10-0-0-1") in answer.actions


def test_a_full_name_that_the_kernel_cannot_keep_is_refused_with_its_line(system: System) -> None:
    """In /etc/hosts it may be longer than as the host name."""
    long = f"web.{'a' * 62}.example.org"
    assert ask(Hostname(), f"#cloud-config\nfqdn: {long}\n", system).actions[0] == SetHostname(hostname="web")
    with pytest.raises(Refusal, match="at most 64 characters"):
        ask(Hostname(), f"#cloud-config\nfqdn: {long}\nprefer_fqdn_over_hostname: true\n", system)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("127.0.0.1 localhost\n127.0.1.1 old\n10.0.0.1 db\n", "127.0.0.1 localhost\n127.0.1.1 new\n10.0.0.1 db\n"),
        ("10.0.0.1 db\n", "127.0.1.1 new\n10.0.0.1 db\n"),
        ("127.0.1.1 a\n# 127.0.1.1\n127.0.1.1 b\n\n", "127.0.1.1 new\n# 127.0.1.1\n\n"),
    ],
)
def test_other_lines_of_hosts_stay(before: str, after: str) -> None:
    """Only the lines of 127.0.1.1 are replaced, and doing it twice changes nothing."""
    assert with_own_line(before, ["new"]) == after
    assert with_own_line(after, ["new"]) == after
