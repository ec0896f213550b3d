"""How the machine is doing, in figures: for whoever asks, for a Co-Pilot monitor, and for a collector of metrics.

`figures.py` reads them; the other modules are the ways out. All but the answers to controllers is off by default, and
none of it touches the state machine of jobs. May import `copilot` (the messages) and `xmpp` (the chat room).
"""
