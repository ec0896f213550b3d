"""Where user-data comes from: one module a source, found by its name.

A source answers with raw bytes and the platform's metadata; it never looks into the bytes. This room
imports `errors` only, and a module that needs aiohttp is imported when its source is used.
"""
