"""Users in a database."""
