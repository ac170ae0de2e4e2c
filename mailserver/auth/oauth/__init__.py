"""Bearer tokens: JWTs, and tokens that their issuer is asked about."""
