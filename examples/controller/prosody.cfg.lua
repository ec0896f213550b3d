-- Prosody (0.12 or later) for agents and controllers of one site; put it into /etc/prosody/conf.d.
-- Accounts: prosodyctl register controller site.example PASSWORD, and one for each VM, or one for all of them.

-- What the network card of a server gains from waiting for more, a controller loses: with Nagle's algorithm on, each
-- answer waits for up to 40 ms.
network_settings = { nagle = false, read_size = 65536 }

-- A stream that is gone lasts for as long as an agent may need to come back to it.
smacks_hibernation_time = 300

-- A thousand agents send little each; one controller sends as much as all of them.
limits = { c2s = { rate = "1mb/s" } }

VirtualHost "site.example"
  modules_enabled = { "saslauth", "tls", "roster", "disco", "ping", "smacks", "offline" }
  authentication = "internal_hashed"
  c2s_require_encryption = true
  ssl = { certificate = "/etc/prosody/certs/site.example.crt", key = "/etc/prosody/certs/site.example.key" }
