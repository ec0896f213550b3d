"""The contextualizers that come with the agent; each imports only `ucvm_agent.contextualize.base` and its actions."""
