"""What runs for ever: the daemon `ucvm-agent`, and those with whom it speaks.

`agent.py` is its life; all else is what that is made of. It may import every room but `cli`; none imports it but that.
"""
