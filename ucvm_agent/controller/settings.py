"""The settings of the controller: each is declared once here, as those of the agent are in `ucvm_agent/settings`.

`/etc/ucvm-agent/controller.toml`, overruled by the environment (`UCVM_CONTROLLER_XMPP__JID=…`) and by options.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr

from ucvm_agent.settings import Log, Names, Section, Url, XmppAccount
from ucvm_agent.settings.layers import Program


class Chirp(Section):
    """`[jobs.chirp]`: the Chirp server for input and output of agents that know nothing else."""

    url: str = Field("", description="host:port that agents reach it at; empty = there is none")
    folder: Path | None = Field(None, description="its root here; a folder for each job is made in it")
    done_dir: Path | None = Field(None, description="where the archives of jobs that have ended go; empty = nowhere")


class Secure(Section):
    """`[jobs.secure]`: the encryption of original Co-Pilot agents; old: TLS and signatures are better."""

    private_key_file: Path | None = Field(None, description="our RSA key, PEM; encrypts all that is said of jobs")
    key_manager: str = Field("", description="JID of who gives tickets; empty = nobody needs one")
    public_keys_file: Path | None = Field(None, description="file of public keys by JID, with the key manager's")


class Jobs(Section):
    """`[jobs]`: how jobs are handed out."""

    duty: Literal["all", "queue", "storage"] = Field(
        "all", description="queue: only hands out jobs; storage: only takes their output"
    )
    agents: Names = Field((), description="accounts and domains that may have jobs; empty = those of our own domain")
    lease_seconds: float = Field(180.0, gt=0, description="of silence, after which a job of our agents is put back")
    job_seconds: float = Field(86400.0, gt=0, description="that an original agent, which says nothing, has for a job")
    max_tries: int = Field(3, ge=1, description="how often a job is handed out before it is failed")
    cooldown_seconds: float = Field(60.0, ge=0, description="between two questions of an original agent; else: sleep")
    require_file: str = Field("", description="path that has to exist where a job is to run")
    chirp: Chirp = Chirp()
    secure: Secure = Secure()


class Http(Section):
    """`[http]`: the API, the page, and the files of jobs."""

    listen: str = Field("127.0.0.1:8480", description="address:port; empty = off")
    token_file: Path | None = Field(
        None, description="file with the token that clients show, made if it is not there; empty = in the state folder"
    )
    public_url: Url = Field("", description="the address at which agents reach it; empty = they use Chirp")
    max_bytes: int = Field(4 * 1024**3, gt=0, description="of a file that is uploaded")


class Client(Section):
    """`[client]`: where `ucvm-controller jobs` and its like find the controller."""

    url: Url = Field("", description="address of its page; empty = http.listen of these settings")
    token: SecretStr = Field(SecretStr(""), description="what it is shown; empty = what token_file holds")
    token_file: Path | None = Field(None, description="file with the token; empty = that of these settings' controller")
    ca_file: Path | None = Field(None, description="certificates to trust instead of the system's")


class Contexts(Section):
    """`[contexts]`: what VMs are to be."""

    folder: Path | None = Field(None, description="ACCOUNT/NAME.context for one machine, default.context for all")


class Keep(Section):
    """`[keep]`: how long what is over stays."""

    job_days: float = Field(
        90.0,
        ge=0,
        description="days until a job that has ended goes, with its inputs, its output and its log; 0 = never",
    )
    machine_days: float = Field(
        90.0, ge=0, description="days until a VM that is not heard of any more goes, with its events; 0 = never"
    )


class Monitor(Section):
    """`[monitor]`: a Co-Pilot monitor that counts what happens here."""

    jid: str = Field("", description="its JID; empty = there is none")
    seconds: float = Field(60.0, gt=0, description="between two reports of the length of the queue")


class Settings(Section):
    """All settings of a controller."""

    instance: str = Field("", description="name among the controllers of one account; empty = the host's name")
    state_dir: Path = Field(Path("/var/lib/ucvm-controller"), description="folder of the ledger, the key and the files")
    redis: SecretStr = Field(SecretStr(""), description="redis:// URL, if several controllers share their work")
    key_file: Path | None = Field(None, description="key that signs what we say; empty = in the state folder")
    log: Log = Log()
    xmpp: XmppAccount = XmppAccount()
    jobs: Jobs = Jobs()
    http: Http = Http()
    contexts: Contexts = Contexts()
    keep: Keep = Keep()
    monitor: Monitor = Monitor()
    client: Client = Client()

    @property
    def token_file(self) -> Path:
        """Where the token of the API is."""
        return self.http.token_file or self.state_dir / "token"

    @property
    def name(self) -> str:
        """The XMPP resource of this controller, and its place in the names of counters."""
        return self.instance or socket.gethostname().partition(".")[0] or "controller"


CONTROLLER = Program(
    Settings,
    Path("/etc/ucvm-agent/controller.toml"),
    "UCVM_CONTROLLER_",
    listing="ucvm-controller config",
)
