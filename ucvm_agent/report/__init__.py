"""How controllers are told: the outbox in the store, and one module a reporter."""
