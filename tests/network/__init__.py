"""Tests of HTTP sessions and of tries."""
