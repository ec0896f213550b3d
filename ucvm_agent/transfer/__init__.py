"""Moves the files of jobs: `get` and `put` in `move.py` are the way in, `chirp_url` of `location.py` names Chirp files.

Files arrive whole or not at all, and what a break has left is gone on with, even after a restart. One module of
`schemes` a URL scheme; this room imports `http` and `aws`, which are loaded only when something is moved with them.
"""
