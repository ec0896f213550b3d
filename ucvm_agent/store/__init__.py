"""The durable state of a VM: one SQLite file.

`schema.py` opens and migrates it, `store.py` is what the other rooms use, `status.py` reads it without a daemon.
"""

from ucvm_agent.store.store import Delivery, JournalEntry, Outcome, Store

__all__ = ["Delivery", "JournalEntry", "Outcome", "Store"]
