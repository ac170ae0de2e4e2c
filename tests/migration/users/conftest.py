"""The databases, for the tests that ask for them."""

from tests.databases import mariadb, postgresql

__all__ = ["mariadb", "postgresql"]
