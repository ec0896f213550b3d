"""Tests of the command `ucvm-agent`, as a process of its own."""
