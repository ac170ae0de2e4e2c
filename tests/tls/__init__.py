"""TLS: certificates, contexts and their renewal, in handshakes."""
