"""Our agents and our controllers at work together, on a real XMPP server and a real Chirp server."""
