"""The configuration of CernVM-FS."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

import pytest

from contextualizers.cvmfs import CVMFS, LOCAL, PAC_URLS
from tests.contextualizers.ask import Answer, ask, furnish
from ucvm_agent.contextualize.actions import Effect, WriteFile
from ucvm_agent.contextualize.system import System
from ucvm_agent.contextualize.target import Target

SAMPLES = Path(__file__).parent.parent / "data" / "contexts"
AUTOMATIC = f'CVMFS_HTTP_PROXY="auto;DIRECT"\nCVMFS_PAC_URLS="{PAC_URLS}"\n'
DER = b"\x30\x0d public key"
PEM = f"-----BEGIN PUBLIC KEY-----\n{b64encode(DER).decode()}\n-----END PUBLIC KEY-----\n"


def local(settings: str) -> WriteFile:
    """Return the action that adds these settings."""
    return WriteFile(path=LOCAL, content=settings.encode(), block="cvmfs")


@pytest.mark.parametrize(
    ("name", "repositories"),
    [
        ("atlas", "atlas.cern.ch,atlas-condb.cern.ch,atlas-nightlies.cern.ch,grid.cern.ch,sft.cern.ch"),
        ("cms-opendata", "cms.cern.ch,cms-opendata-conddb.cern.ch"),
        ("default", "sft.cern.ch,grid.cern.ch"),
        ("sft", "sft.cern.ch"),
    ],
)
def test_real_contexts_get_their_repositories(name: str, repositories: str, system: System) -> None:
    """Short names are completed; without a proxy the automatic one is used."""
    answer = ask(CVMFS(), (SAMPLES / f"{name}.context").read_text(), system)
    assert answer.actions == [local(f'CVMFS_REPOSITORIES="{repositories}"\n{AUTOMATIC}')]
    assert answer.texts == []


def test_the_proxy_of_the_bootloader_is_taken_over(system: System) -> None:
    """With its PAC URLS; quotes are those of the file, never evaluated."""
    answer = ask(
        CVMFS(),
        """
        [ucernvm-begin]
        cvmfs_http_proxy="http://squid1:3128|http://squid2:3128;DIRECT"
        cvmfs_pac_urls=http://wpad/wpad.dat;http://other/wpad.dat
        cvmfs_server=hepvm.cern.ch
        [ucernvm-end]
        """,
        system,
    )
    assert answer.actions == [
        local(
            'CVMFS_HTTP_PROXY="http://squid1:3128|http://squid2:3128;DIRECT"\n'
            'CVMFS_PAC_URLS="http://wpad/wpad.dat;http://other/wpad.dat"\n'
        )
    ]


def test_of_two_proxies_the_nearer_to_the_system_wins_with_a_warning(system: System) -> None:
    """`[cernvm]` is about the system, `[ucernvm-begin]` about the boot."""
    text = "[cernvm]\nproxy=http://a:3128\n[ucernvm-begin]\ncvmfs_http_proxy=http://b:3128\n[ucernvm-end]\n"
    answer = ask(CVMFS(), text, system)
    assert answer.actions == [local('CVMFS_HTTP_PROXY="http://a:3128"\n')]
    assert answer.texts == ["warning 4: [ucernvm-begin] cvmfs_http_proxy: overruled by [cernvm] proxy"]


def test_cloud_config_has_a_mapping_of_its_own(system: System) -> None:
    """Every setting can be given, and `no` of YAML is the word again."""
    answer = ask(
        CVMFS(),
        """
        #cloud-config
        cvmfs:
          repositories: [sft, data.example.org]
          http_proxy: DIRECT
          server_url: http://cvmfs.example.org/cvmfs/@fqrn@
          quota_limit: 20000
          config: {CVMFS_USE_GEOAPI: no, CVMFS_TIMEOUT: 5}
        """,
        system,
    )
    assert answer.actions == [
        local(
            'CVMFS_REPOSITORIES="sft.cern.ch,data.example.org"\nCVMFS_HTTP_PROXY="DIRECT"\n'
            'CVMFS_SERVER_URL="http://cvmfs.example.org/cvmfs/@fqrn@"\nCVMFS_QUOTA_LIMIT="20000"\n'
            'CVMFS_USE_GEOAPI="no"\nCVMFS_TIMEOUT="5"\n'
        )
    ]
    assert answer.texts == []


def test_the_image_s_own_proxy_stays(tmp_path: Path) -> None:
    """The automatic one is only for those that have none."""
    system = furnish(tmp_path, {LOCAL: "CVMFS_HTTP_PROXY=http://site:3128\n"})
    assert ask(CVMFS(), "[cernvm]\nrepositories=sft\n", system).actions == [local('CVMFS_REPOSITORIES="sft.cern.ch"\n')]


async def test_another_context_replaces_the_settings_and_nothing_else(tmp_path: Path) -> None:
    """Also one that has none; the second time the same context changes nothing."""
    system = furnish(tmp_path, {LOCAL: "CVMFS_QUOTA_LIMIT=10000"})
    after = []
    for text in ("[cernvm]\nrepositories=atlas,sft\n", "[cernvm]\nrepositories=sft\nproxy=DIRECT\n", "[cernvm]\n"):
        for action in ask(CVMFS(), text, system).actions:
            await action.apply(Target(system, tmp_path / "runs", "key", frozenset()))
        assert all(action.preview(system).effect is Effect.NONE for action in ask(CVMFS(), text, system).actions)
        after.append((system.read(LOCAL) or b"").decode().splitlines())
    assert [line for line in after[0] if line[0] != "#"] == [
        "CVMFS_QUOTA_LIMIT=10000",
        'CVMFS_REPOSITORIES="atlas.cern.ch,sft.cern.ch"',
        *AUTOMATIC.splitlines(),
    ]
    assert [line for line in after[1] if line[0] != "#"] == [
        "CVMFS_QUOTA_LIMIT=10000",
        'CVMFS_REPOSITORIES="sft.cern.ch"',
        'CVMFS_HTTP_PROXY="DIRECT"',
    ]
    assert after[2] == ["CVMFS_QUOTA_LIMIT=10000"]


@pytest.mark.parametrize("key", [PEM, b64encode(PEM.encode()).decode(), b64encode(DER).decode()])
def test_another_repository_brings_its_server_and_key(key: str, system: System) -> None:
    """The key is PEM, or base64 of PEM as in `[cernvm]`, or base64 of what PEM holds."""
    text = f"""
        #cloud-config
        cvmfs:
          http_proxy: DIRECT
          extra_repositories:
            - name: data.example.org
              server_url: http://cvmfs.example.org/cvmfs/@fqrn@
              public_key: {key!r}
    """.replace("\\n'", "'")
    assert_repository(ask(CVMFS(), text.replace("\\n", "\n\n                "), system), "@fqrn@")


def test_another_repository_of_cernvm(system: System) -> None:
    """`name|server|key`."""
    key = b64encode(PEM.encode()).decode()
    text = f"[cernvm]\nproxy=DIRECT\nextra_repositories=data.example.org|cvmfs.example.org|{key}\n"
    assert_repository(ask(CVMFS(), text, system), "data.example.org")


def assert_repository(answer: Answer, path: str) -> None:
    """Assert that the repository gets its key, its server, and a place among the others."""
    url = f"http://cvmfs.example.org/cvmfs/{path}"
    public_key = "/etc/cvmfs/keys/data.example.org.pub"
    configuration = f'CVMFS_SERVER_URL="{url}"\nCVMFS_PUBLIC_KEY="{public_key}"\n'
    assert answer.texts == []
    assert answer.actions == [
        WriteFile(path=public_key, content=PEM.encode()),
        WriteFile(path="/etc/cvmfs/config.d/data.example.org.conf", content=configuration.encode()),
        local('CVMFS_REPOSITORIES="data.example.org"\nCVMFS_HTTP_PROXY="DIRECT"\n'),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('proxy=http://a";reboot;"', 'proxy: a shell reads this value and would act on "'),
        ("proxy=$(reboot)", "proxy: a shell reads this value and would act on $"),
        ("proxy=`reboot`", "proxy: a shell reads this value and would act on `"),
        (
            "repositories=../../etc",
            "repositories[1]: expected the name of a repository such as sft.cern.ch, not '../../etc'",
        ),
        ("extra_repositories=a|b", "extra_repositories[1]: expected name|server|key"),
        (
            "extra_repositories=a|b|c",
            "extra_repositories[1].public_key: expected a public key in PEM format, or base64 of it",
        ),
    ],
)
def test_what_a_shell_would_run_is_refused(line: str, message: str, system: System) -> None:
    """And so is what leads out of the folder or is no key."""
    answer = ask(CVMFS(), f"[cernvm]\n{line}\n", system)
    assert answer.actions == []
    assert answer.texts == [f"error 2: [cernvm] {message}"]


def test_an_entitlement_key_is_not_shown(system: System) -> None:
    """It hides the settings that it stands among."""
    (file,) = ask(CVMFS(), "[cernvm]\nentitlement_key=geheim\n", system).actions
    assert isinstance(file, WriteFile)
    assert (file.sensitive, b'CVMFS_ENTITLEMENT_KEY="geheim"\n' in file.content) == (True, True)
    assert "geheim" not in repr(file)
