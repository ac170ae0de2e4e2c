"""Tests that every kind of database must pass: a class for each, beside a trial TestCase."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from mailserver.auth.sql.checker import SqlUsers
from tests.auth.sql.sites import SqlSite
from tests.databases import MariaDB, PostgreSQL


class SqlCase(TestCase):
    """A site in SQLite, and checkers over it that the test's end stops."""

    site: SqlSite

    @pytest.fixture(autouse=True)
    def _site(self, tmp_path: Path) -> None:
        self.site = SqlSite(tmp_path)

    async def started(self, **values: Any) -> SqlUsers:
        """A checker with the site's settings, and `values` over them."""
        checker = SqlUsers(self.site.write(**values))
        await checker.start(reactor)
        self.addCleanup(checker.stop)
        return checker


class InPostgreSQL(SqlCase):
    """The same in PostgreSQL."""

    @pytest.fixture(autouse=True)
    def _site(self, tmp_path: Path, postgresql: PostgreSQL) -> None:
        self.site = SqlSite(tmp_path, postgresql)


class InMariaDB(SqlCase):
    """The same in MariaDB."""

    @pytest.fixture(autouse=True)
    def _site(self, tmp_path: Path, mariadb: MariaDB) -> None:
        self.site = SqlSite(tmp_path, mariadb)
