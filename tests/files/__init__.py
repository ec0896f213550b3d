"""Tests of files beneath a root."""
