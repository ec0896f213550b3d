"""Tests of the sources of user-data."""
