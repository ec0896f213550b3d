"""User-data of a glideinWMS pilot, as the factory makes them."""

from __future__ import annotations

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.userdata.conftest import Decode, findings, values
from ucvm_agent.sources.base import Found
from ucvm_agent.userdata.context import UCERNVM, Severity
from ucvm_agent.userdata.decode import decode
from ucvm_agent.userdata.excerpt import excerpt
from ucvm_agent.userdata.glidein import GLIDEIN

PROXY = "-param_CERNVM_CMS_PROXY http.colon,//squid.dot,example.dot,org.colon,3128.pipe,http.colon,//b.semicolon,DIRECT"
PAC = "-param_CERNVM_CMS_PAC_URLS http.colon,//wpad.minus,1/wpad.dot,dat"
SITE = "-param_CERNVM_CMS_SITE T1.minus,CH"


def pilot(*options: str, end: str = "\n") -> str:
    ini = "[glidein_startup]\nargs = -v std " + " ".join(options) + "\nargs = -param_CERNVM_CMS_SITE second\n"
    return f"{b64encode(ini.encode()).decode()}#### -cluster 17 -subcluster 0####extra{end}"


def test_the_options_of_a_pilot_are_settings_of_the_bootloader(read: Decode) -> None:
    """With what stands between proxies: the original lost it in its shell."""
    text = pilot(PROXY, PAC, SITE)
    context = read(text)
    assert values(context) == {
        UCERNVM: {
            "cvmfs_http_proxy": "http://squid.example.org:3128|http://b;DIRECT",
            "cvmfs_pac_urls": "http://wpad-1/wpad.dat",
        },
        GLIDEIN: {"user_data": text, "cms_site": "T1-CH"},
    }
    assert context.problems == ()


@pytest.mark.parametrize("end", ["", "\n"])
def test_a_pilot_may_ask_for_nothing(read: Decode, end: str) -> None:
    """It is one all the same."""
    assert set(values(read(pilot(end=end)))) == {GLIDEIN}


@pytest.mark.parametrize("switch", ["0", "off", "False"])
def test_a_pilot_can_be_switched_off(switch: str) -> None:
    """By a block that comes another way."""
    vendor = f"[ucernvm-begin]\nuseglideinWMS={switch}\n[ucernvm-end]\n".encode()
    context = decode(Found("ec2", "test", pilot(PROXY).encode(), vendor_data=vendor))
    assert values(context) == {UCERNVM: {"useglideinwms": "0"}}
    assert [severity for severity, _, _ in findings(context)] == [Severity.NOTE]


def test_a_block_counts_more_than_a_pilot() -> None:
    """Key by key."""
    vendor = b"[ucernvm-begin]\ncvmfs_http_proxy=DIRECT\n[ucernvm-end]\n"
    context = decode(Found("ec2", "test", pilot(PROXY, PAC).encode(), vendor_data=vendor))
    assert values(context)[UCERNVM] == {"cvmfs_http_proxy": "DIRECT", "cvmfs_pac_urls": "http://wpad-1/wpad.dat"}


@pytest.mark.parametrize(
    "text", ["Zm9v\n\n#### -cluster 1 -subcluster 0####\n", "Zm9v####  -cluster 1 -subcluster 0####"]
)
def test_what_nearly_is_a_pilot_is_named(read: Decode, text: str) -> None:
    """It was none for the original, either."""
    context = read(text)
    assert values(context) == {}
    assert [severity for severity, _, _ in findings(context)] == [Severity.ERROR]


def test_a_damaged_pilot_is_named_without_its_text(read: Decode) -> None:
    """It holds credentials."""
    context = read("Zm9vYmFyZm9vYmFy!#### -cluster 1 -subcluster 0####\n")
    (problem,) = context.problems
    assert "is not base64" in problem.message
    assert "Zm9vYmFy" not in excerpt(context, problem.place)


@given(st.binary())
def test_any_pilot_is_read(data: bytes) -> None:
    """Without any exception."""
    text = b64encode(b"args " + data) + b"#### -cluster 1 -subcluster 2####"
    assert GLIDEIN in values(decode(Found("ec2", "test", text)))
