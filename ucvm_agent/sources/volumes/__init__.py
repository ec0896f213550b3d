"""Files on volumes that are not mounted: an image file or a block device, ISO 9660, UDF, FAT or ext4.

Whoever may read the image or device may read what is on it; no privilege beyond that is needed, and nothing is
changed. `search.search` is the way in: it looks at one named volume, or at all that the machine has. The libraries
are loaded when there is a volume to read.
"""
