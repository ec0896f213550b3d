"""Getting this machine's context from its controllers; `daemon/rehearsal.py` shows them what one would do."""
