"""The Co-Pilot protocol: how its messages stand on the wire (references/copilot-protocol.md)."""
