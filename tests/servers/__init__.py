"""Real servers, and fakes of those that cannot be had, started by fixtures and by the quick start."""
