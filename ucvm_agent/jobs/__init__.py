"""Working for job managers: what they say, and running what they want, with limits and over any end of the agent.

A job has a folder of its own, which is hostile as soon as the job has run, and a folder of control, which only the
agent can see. Between them stands the supervisor (`supervisor.py`), a process that starts the job, holds it to its
limits, ends all of its processes, and writes down how it ended. It and what it imports use the standard library
only, since each running job has one: supervisor, record, cgroup, tree, capture, spawn, account, limits, packer.
The rest is the agent's side: `runner.py` runs one job, `slot.py` brings one from the question to the result,
`worker.py` has all slots. May import `copilot` and `xmpp` (what managers say), `transfer` (files), `sources` and
`http` (what EC2 announces), and the root folder of `contextualize`.
"""
