"""What `make serve` starts: a server to try, with an account, messages and, if asked for, a Kerberos realm."""
