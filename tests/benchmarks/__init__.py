"""Comparisons in one run on one machine; run by hand, see README.md."""
