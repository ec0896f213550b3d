"""Running a job: its account, its folders, its limits, and a process beside it that outlives the agent.

A job has a folder of its own, which is hostile as soon as the job has run, and a folder of control, which only the
agent can see. Between them stands the supervisor (`supervisor.py`), a process that starts the job, holds it to its
limits, ends all of its processes, and writes down how it ended. It and what it imports use the standard library
only, since each running job has one: supervisor, record, bell, kernel, privacy, cgroup,
tree, capture, spawn, account, limits, packer.
`runner.py` is the agent's side.
"""
