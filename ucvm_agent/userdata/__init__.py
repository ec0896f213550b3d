"""From the raw bytes of a source to one typed, immutable `Context`: a pure function without any I/O.

`decode` in `decode.py` is the way in. This room imports `errors` and the data types of `sources.base`.
"""
