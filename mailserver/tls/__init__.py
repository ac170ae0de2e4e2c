"""TLS: the certificates and their renewal, the contexts, and what TLS tells a SASL exchange."""
