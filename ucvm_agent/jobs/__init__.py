"""Working for job managers: what they say, and running what they want, over any end of the agent.

`running` runs one job; here, `slot.py` brings one from the question to the result, and `worker.py` has all slots. May
import `copilot` and `xmpp` (what managers say), `transfer` (files), `sources` and `http` (what EC2 announces), and the
root folder of `contextualize`.
"""
