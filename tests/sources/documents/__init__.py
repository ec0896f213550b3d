"""Tests of what platforms write about an instance."""
