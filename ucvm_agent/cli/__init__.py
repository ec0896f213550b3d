"""The command line `ucvm-agent`.

It may import every room, and does so only where it needs it: a dry run has to start fast.
"""
