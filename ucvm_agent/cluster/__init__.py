"""Machines of one cluster find each other by a PIN, and the context is completed when the cluster's keys are there."""
