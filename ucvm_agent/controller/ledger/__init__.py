"""What a controller must not forget: jobs and machines, in SQLite or in a Redis that several controllers share.

`base` is the contract, `rules` decides what may become of a job; both stores apply it.
"""
