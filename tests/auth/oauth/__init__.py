"""Bearer tokens, and an issuer of them."""
