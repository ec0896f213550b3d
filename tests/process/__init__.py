"""Tests of log and loop."""
