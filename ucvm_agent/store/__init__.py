"""The durable state of a VM: one SQLite file.

`schema.py` opens and migrates it, `database.py` shares it among threads, `store.py` is what the other rooms use, with
the outbox in `events.py` and what signed orders leave behind in `pins.py`; `status.py` and `journal.py` read it without
a daemon, `lock.py` keeps agents apart. Nothing is imported here: a dry run without a state needs no SQLite.
"""

FILE_NAME = "state.db"
"""The file, in the folder of the state."""
