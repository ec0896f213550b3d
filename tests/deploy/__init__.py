"""The folder `deploy`: what a machine starts the agent with, and what installs it."""
