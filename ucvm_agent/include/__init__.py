"""What the user-data includes from elsewhere (`#include`): fetched, and kept for a boot without network.

`gather` in `gathering.py` is the way in. This room imports `userdata`, whose decoder says what is missing, and `http`
and `aws`, which are loaded only when there is something to fetch with them.
"""
