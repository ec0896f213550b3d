"""How we speak to services: over bounded HTTP, to those of AWS, and again after a fault that may pass.

Each module loads its library, so import it where something is asked for.
"""
