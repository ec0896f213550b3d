"""Contextualization and orchestration agent for µCernVM-like virtual machines.

Each folder below is one room of the design, in the order in which the data flows: `sources`, `userdata`,
`contextualize`, `report`. A room imports only from rooms before it and from `errors`, `events`, `settings`
and `store`.
"""

__version__ = "0.1.0"
