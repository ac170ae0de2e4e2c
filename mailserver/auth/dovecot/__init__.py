"""Users of a running Dovecot: its auth service is asked about each login."""
