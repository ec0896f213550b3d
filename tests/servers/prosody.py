"""A real Prosody on loopback with TLS, its own folder and its own accounts.

In a test: `async with Prosody(tmp_path, accounts={"agent": "pw"}) as server`. By hand:
`python -m tests.servers.prosody --dir DIR --accounts agent:pw,jm:pw` prints where it listens and runs until SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import trustme

from tests.servers.ports import free_port
from tests.servers.server_log import keep_log

READY_SECONDS = 20.0
STOP_SECONDS = 10.0

CONFIGURATION = """\
run_as_root = true
pidfile = "{folder}/prosody.pid"
data_path = "{folder}/data"
log = {{ {{ levels = {{ min = "debug" }}, to = "stdout", timestamps = true }} }}
modules_enabled = {{ "saslauth", "tls", "roster", "disco", "ping", "smacks", "offline" }}
modules_disabled = {{ "s2s" }}
interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {port} }}
c2s_require_encryption = {require_encryption}
allow_unencrypted_plain_auth = false
authentication = "internal_hashed"
default_iteration_count = 4096
ssl = {{ certificate = "{folder}/server.pem", key = "{folder}/server.key" }}
VirtualHost "{domain}"
"""


class Prosody:
    """One server and its data.

    Arguments:
        folder: where configuration, certificates, data and log go.
        accounts: passwords by user name.
        domain: the domain of its JIDs.
        certified: the name in its certificate, if not the domain.
        tls: False makes a server that offers no encryption.
        rooms: the domain of its chat rooms, if it has any.
    """

    def __init__(
        self,
        folder: Path,
        accounts: Mapping[str, str],
        *,
        domain: str = "site.example",
        certified: str = "",
        tls: bool = True,
        rooms: str = "",
    ) -> None:
        self.folder = folder
        self.domain = domain
        self.host = "127.0.0.1"
        self.port = free_port()
        self.ca_file = folder / "ca.pem"
        self.log_file = folder / "prosody.log"
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._prepare(accounts, certified or domain, tls)
        if rooms:
            with (folder / "prosody.cfg.lua").open("a") as configuration:
                configuration.write(f'Component "{rooms}" "muc"\n')

    def jid(self, user: str) -> str:
        """Return the bare JID of an account."""
        return f"{user}@{self.domain}"

    def log_text(self) -> str:
        """Return what the server has logged so far, over all its starts."""
        return self.log_file.read_text() if self.log_file.exists() else ""

    async def start(self) -> None:
        """Start it and return when it listens."""
        process = await asyncio.create_subprocess_exec(
            "prosody",
            "--config",
            str(self.folder / "prosody.cfg.lua"),
            "-F",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        self._process = process
        listening = asyncio.get_running_loop().create_future()
        self._reader = asyncio.create_task(
            keep_log(process.stdout, self.log_file, b"Activated service 'c2s' on", listening)
        )
        async with asyncio.timeout(READY_SECONDS):
            await listening

    async def stop(self) -> None:
        """Stop it in good order."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """Stop it as a power cut would; its data stays as it is."""
        await self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Make it silent, as a network that swallows everything does."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    async def wait(self) -> None:
        """Return when the server has ended."""
        if self._process is not None:
            await self._process.wait()

    async def __aenter__(self) -> Prosody:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.kill()  # in good order it would wait for clients that have gone

    def _prepare(self, accounts: Mapping[str, str], certified: str, tls: bool) -> None:
        data = self.folder / "data" / self.domain.replace(".", "%2e") / "accounts"
        data.mkdir(parents=True, exist_ok=True)
        for user, password in accounts.items():
            (data / f"{user}.dat").write_text(f'return {{ ["password"] = "{password}"; }};\n')
        authority = trustme.CA()
        certificate = authority.issue_cert(certified)
        authority.cert_pem.write_to_path(self.ca_file)
        certificate.private_key_pem.write_to_path(self.folder / "server.key")
        certificate.cert_chain_pems[0].write_to_path(self.folder / "server.pem")
        text = CONFIGURATION.format(
            folder=self.folder, port=self.port, domain=self.domain, require_encryption=str(tls).lower()
        )
        (self.folder / "prosody.cfg.lua").write_text(text if tls else text.replace('"tls", ', ""))

    async def _end(self, number: signal.Signals) -> None:
        process, reader = self._process, self._reader
        if process is None or reader is None:
            return
        self._process = self._reader = None
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        await reader


async def _serve(folder: Path, accounts: Mapping[str, str], domain: str) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with Prosody(folder, accounts, domain=domain) as server:
        print(f"host={server.host} port={server.port} domain={server.domain} ca_file={server.ca_file}", flush=True)
        ended = asyncio.create_task(server.wait())
        asked = asyncio.create_task(stopped.wait())
        await asyncio.wait({ended, asked}, return_when=asyncio.FIRST_COMPLETED)
        for task in (ended, asked):
            task.cancel()


def main() -> None:
    """Run a server until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m tests.servers.prosody", description="A Prosody on loopback.")
    parser.add_argument("--dir", type=Path, required=True, help="folder for data, certificates and log")
    parser.add_argument("--accounts", required=True, metavar="USER:PASSWORD,…")
    parser.add_argument("--domain", default="site.example")
    options = parser.parse_args()
    folder = Path(os.path.abspath(options.dir))  # noqa: PTH100 - the server changes its working directory
    folder.mkdir(parents=True, exist_ok=True)
    accounts = dict(account.split(":", 1) for account in options.accounts.split(","))
    asyncio.run(_serve(folder, accounts, options.domain))


if __name__ == "__main__":
    main()
