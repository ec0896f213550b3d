"""What a process that runs for ever needs, the agent's and the controller's: a log, a loop, a word to systemd."""
