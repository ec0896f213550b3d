"""The XMPP client: one connection to the site's server, kept for ever."""
