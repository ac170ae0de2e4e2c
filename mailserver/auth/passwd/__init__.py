"""Users and passwords from a passwd-file of Dovecot's format."""
