"""The contracts of all checkers, in each kind of database."""

from __future__ import annotations

import base64
from hashlib import sha256
from typing import Any

from mailserver.auth import make_portal
from mailserver.testing.contracts.checkers import NameRealm, UserListContract
from tests.auth.contract import CheckerContract
from tests.auth.sql.cases import InMariaDB, InPostgreSQL, SqlCase


class Hashed(CheckerContract):
    at_once = False
    started: Any
    site: Any
    values: dict[str, Any] = {}  # noqa: RUF012 - it is never changed

    def kept(self, password: bytes) -> str:
        return "{SHA256.hex}" + sha256(password).hexdigest()

    async def setUp(self) -> None:  # type: ignore[override]
        for name, password in self.users.items():
            self.site.add(name.decode(), self.kept(password))
        self.checker = await self.started(**self.values)
        self.portal = make_portal(NameRealm(), [self.checker])


class Clear(Hashed):
    values = {"secrets": "clear"}  # noqa: RUF012

    def kept(self, password: bytes) -> str:
        return "{PLAIN.b64}" + base64.b64encode(password).decode()


class SQLiteHashedTests(Hashed, SqlCase):
    pass


class PostgreSQLHashedTests(Hashed, InPostgreSQL):
    pass


class MariaDBHashedTests(Hashed, InMariaDB):
    pass


class SQLiteClearTests(Clear, SqlCase):
    pass


class PostgreSQLClearTests(Clear, InPostgreSQL):
    pass


class MariaDBClearTests(Clear, InMariaDB):
    pass


class Listed(UserListContract):
    started: Any
    site: Any

    async def setUp(self) -> None:  # type: ignore[override]
        for name in self.listed:
            self.site.add(name, "{PLAIN}x")
        self.users = await self.started()


class SQLiteListTests(Listed, SqlCase):
    pass


class PostgreSQLListTests(Listed, InPostgreSQL):
    pass


class MariaDBListTests(Listed, InMariaDB):
    pass
