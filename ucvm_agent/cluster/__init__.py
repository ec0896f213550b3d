"""Machines of one cluster find each other by a PIN, and each gets the keys of the cluster when they are there."""
