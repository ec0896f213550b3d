"""Tests of the way to a contextualized machine."""
