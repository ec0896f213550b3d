"""Tests of reading volumes."""
