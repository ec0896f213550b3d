"""The counterpart of the controller: a bare slixmpp client that answers every question for a job at once.

It keeps nothing, signs nothing, and trusts everybody; so it shows what the library and the wire cost.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
import uuid
from typing import Any
from xml.etree.ElementTree import Element

from slixmpp import ClientXMPP
from slixmpp.stanza import Message
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath

from ucvm_agent.copilot.stanza import Envelope, Hash, message_element, read_message

OFFER: Hash = {"info": {"command": "have_getJob"}}
ORDER: Hash = {
    "info": {
        "command": "runJob",
        "jmJobData": "startedAt=1",
        "job": {"id": "job", "command": "run.sh", "arguments": "1 2 3", "inputFiles": "run.sh###data.root"},
    }
}


class StandIn(ClientXMPP):
    """Who answers.

    Arguments:
        jid: bare JID.
    """

    def __init__(self, jid: str) -> None:
        super().__init__(f"{jid}/bench", "pw")
        self.enable_direct_tls = False
        self.ssl_context = ssl.create_default_context()
        self.ssl_context.check_hostname = False
        self.ssl_context.verify_mode = ssl.CERT_NONE
        self.register_handler(Callback("any", MatchXPath("{jabber:client}message"), self._on_stanza, instream=True))
        self.add_event_handler("session_start", lambda _: self.send_presence())

    def _on_stanza(self, stanza: Any) -> None:
        asked = read_message(stanza.xml)
        if asked.ack:
            return
        if not asked.noack:
            self._post(message_element(Envelope(to=asked.sender, ack=asked.id)))
        content = OFFER if asked.command == "want_getJob" else ORDER
        answer = Envelope(id=str(uuid.uuid4()), to=asked.sender, noack=asked.noack, content=content)
        self._post(message_element(answer))

    def _post(self, message: Element) -> None:
        self.send(Message(self, message))  # type: ignore[no-untyped-call]  # as slixmpp leaves it


async def serve(jid: str, host: str, port: int) -> None:
    """Answer until SIGTERM."""
    stand_in = StandIn(jid)
    stand_in.connect(host, port)
    await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], sys.argv[2], int(sys.argv[3])))
