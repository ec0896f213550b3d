"""People who look after the machine from any XMPP client: by its list of commands (XEP-0050), or by a word in a chat.

`commands.py` is the list, and knows nothing of XMPP; `adhoc.py` and `chat.py` are the two ways to it. What a command
does to the machine is behind the protocol of `base.py`. May import `xmpp`, and of `copilot` what all messages and
the complaints about peers have in common.
"""
