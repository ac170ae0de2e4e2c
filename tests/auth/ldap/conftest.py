"""The directory, for the tests that ask for it."""

from tests.auth.ldap.slapd import slapd

__all__ = ["slapd"]
