"""Kerberos: tickets and passwords, at a real KDC."""
