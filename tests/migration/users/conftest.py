"""The databases and the directory, for the tests that ask for them."""

from tests.auth.ldap.slapd import slapd
from tests.databases import mariadb, postgresql

__all__ = ["mariadb", "postgresql", "slapd"]
