"""What runs in the initial RAM disk: it makes the root file system out of a read-only layer and a scratch disk.

It takes the place of µCernVM's shell scripts (references/ucernvm-boot.md) and reads the bootloader's block of the
user-data by the same code as the running system. It imports sources and userdata, and no library beyond what those
need, since everything here is in every machine's initial RAM disk.
"""
