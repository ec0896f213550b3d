"""What platforms write about an instance, on media and at their services alike, read into one kind of `Metadata`.

Each module is pure: bytes in, data out. What is not sound is dropped instead of failing, since one bad value must
not keep a VM from coming up.
"""
