"""Pairing this machine with a context of CernVM Online: as a command, and as a prompt on a console."""
