"""The command line `ucvm-agent`. It may import every room, and does so where it is needed: a dry run has to start fast."""
