"""Getting this machine's context from its controllers, and showing them what a context would do."""
