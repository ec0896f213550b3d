"""With whom the machine speaks: its controllers, those who monitor it, and its operators."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr

from ucvm_agent.settings.kinds import Account, Addresses, Names, Section, SigningKeys, Url


class XmppAccount(Section):
    """`[xmpp]`: an account on an XMPP server, and how that is reached; off without a JID."""

    jid: Account = ""
    password: SecretStr = SecretStr("")
    password_file: Path | None = Field(None, description="file with the password, instead of `password`")
    host: str = Field("", description="server address, if DNS does not say it")
    port: int = Field(5222, ge=1, le=65535)
    ca_file: Path | None = Field(None, description="certificates to trust instead of the system's")
    verify: bool = Field(True, description="false accepts any certificate, and says so in `status`")


class Xmpp(XmppAccount):
    """`[xmpp]`: the connection to the controllers' XMPP server; off without a JID."""

    controllers: Addresses = Field((), description="JIDs that get every event")
    signatures: Literal["pin", "required", "off"] = Field(
        "pin",
        description="pin: a controller that has signed once must sign; required: all must; off: nobody need",
    )
    controller_keys: SigningKeys = Field(
        (), description="public keys by which controllers sign; without them the first that one shows is pinned"
    )
    receipts: bool = Field(True, description="an event counts as delivered when its controller, not its server, has it")


class Http(Section):
    """`[http]`: a controller that takes events by POST; off without a URL."""

    url: Url = ""
    token: SecretStr = SecretStr("")
    token_file: Path | None = Field(None, description="file with the bearer token, instead of `token`")
    ca_file: Path | None = Field(None, description="certificates to trust instead of the system's")
    verify: bool = Field(True, description="false accepts any certificate, and says so in `status`")


class Monitoring(Section):
    """`[monitoring]`: the figures of the machine: load, disks, memory, network, processes."""

    room: str = Field("", description="chat room of the site's heartbeat, as ROOM@SERVER; without it: none is entered")
    room_answers: bool = Field(True, description="tell everybody in that room who asks how this machine is")
    monitor: str = Field("", description="JID of a Co-Pilot monitor that gets the figures; without it: none")
    interval: float = Field(60.0, ge=0, description="seconds from one report to that monitor to the next; 0 = none")
    port: int = Field(
        0, ge=0, le=65535, description="port of 127.0.0.1 where the figures are to be had as OpenMetrics; 0 = none"
    )


class Operators(Section):
    """`[operators]`: people who look after this machine from any XMPP client, by its commands or in a chat."""

    enabled: bool = Field(True, description="obey operators")
    jids: Names = Field(
        (), description="their accounts; without them, those of xmpp.controllers that need not sign what they say"
    )
    allow_shutdown: bool = Field(False, description="they may shut the machine down")
