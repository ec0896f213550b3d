"""The controller over HTTP: an API for programs, the files of jobs for agents, and one live page for people.

An `Operation` is declared once (`operation.py`), with the models of what it takes and answers; `openapi.py` describes
all of them. `site.py` serves them.
"""
