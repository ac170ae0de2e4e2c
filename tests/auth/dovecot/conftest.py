"""The Dovecot, for the tests that ask for it."""

from tests.auth.dovecot.dovecots import dovecot

__all__ = ["dovecot"]
