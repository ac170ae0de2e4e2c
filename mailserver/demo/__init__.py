"""What `make serve` starts: a server to try out, with an account, messages and, on request, a Kerberos realm."""
