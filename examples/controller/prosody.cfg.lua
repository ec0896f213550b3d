-- Prosody (0.12 or later) for agents and controllers of one site; put it into /etc/prosody/conf.d.
-- Accounts: prosodyctl register controller site.example PASSWORD, and one for each VM, or one for all of them.

-- With Nagle's algorithm on, which is the default, each answer waits for up to 40 ms.
network_settings = { nagle = false, read_size = 65536 }

VirtualHost "site.example"
  modules_enabled = { "saslauth", "tls", "roster", "disco", "ping", "smacks", "offline" }
  authentication = "internal_hashed"
  c2s_require_encryption = true
  ssl = { certificate = "/etc/prosody/certs/site.example.crt", key = "/etc/prosody/certs/site.example.key" }
