"""The Kerberos realm, for the tests that ask for it."""

from tests.realm import realm

__all__ = ["realm"]
