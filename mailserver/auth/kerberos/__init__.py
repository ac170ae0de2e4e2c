"""Kerberos: tickets, and passwords that a KDC checks."""
