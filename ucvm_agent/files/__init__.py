"""Files that are read and written with care: beneath a root that no link leads out of, and closed to all others."""
