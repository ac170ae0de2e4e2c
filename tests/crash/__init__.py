"""What SIGKILL may do to a server, and may not do to the mail."""
