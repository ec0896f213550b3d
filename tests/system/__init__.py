"""Tests that boot a machine: the image of deploy/image, in QEMU without hardware acceleration."""
