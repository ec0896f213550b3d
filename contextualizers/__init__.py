"""The contextualizers that come with the agent, registered like anybody's.

Each imports only `ucvm_agent.contextualize.base` and its actions, and the models that several of them read the
context with (`accounts`, `assignments`, `default_user`, `encoded`, `public_key`).
"""
