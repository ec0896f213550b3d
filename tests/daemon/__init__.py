"""Tests of the daemon, as a process of its own."""
