"""Contextualization and orchestration agent for µCernVM-like virtual machines.

Each folder below is one room of the design. Data go one way through them: `sources`, `include`, `userdata`,
`contextualize`, `report`; `stages` is that way as a whole, `daemon` goes it for as long as the machine runs, and `cli`
starts all. What every room may import lies here (`errors`, `events`, …) or in `settings`, `files` and `store`; what
else a room imports is listed in tests/test_rooms.py.
"""

__version__ = "0.1.0"
