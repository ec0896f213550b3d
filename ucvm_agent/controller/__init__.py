"""The other end of the wire: hands out jobs and contexts, and shows the fleet (extra `controller`).

It imports the protocol (`copilot`, `xmpp`, `events`) and nothing of what runs in a VM. What it must not forget is in a
`ledger`: SQLite for one controller, Redis for several that share the work.
"""
