"""What a login and a list cost: questions, hops to threads, and rows at once."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

from mailserver.auth.sql import postgresql, sqlite
from mailserver.credentials import Password
from mailserver.pool import Pool
from tests.auth.sql.cases import InPostgreSQL, SqlCase
from tests.auth.sql.sites import SqlSite

USERS = 10_000
PAGE = 1000


class Costs:
    site: SqlSite
    started: Any
    patch: Any
    link: Any

    def counted(self) -> list[tuple[str, int]]:
        """The questions from now on, each with the number of rows of its answer."""
        found: list[tuple[str, int]] = []
        original = self.link.ask

        def ask(link: Any, statement: Any, *arguments: Any) -> Any:
            answer = original(link, statement, *arguments)
            found.append((statement.text, len(answer.rows)))
            return answer

        self.patch(self.link, "ask", ask)
        return found

    async def test_a_login_is_one_question_and_one_hop(self) -> None:
        self.site.add("alice", "{PLAIN}x")
        self.site.app("alice", "phone", "{PLAIN}y")
        for queries, questions in (({"app_passwords": ""}, 1), ({}, 2)):
            checker = await self.started(queries=queries)
            asked = self.counted()
            hops = 0

            def look(frame: FrameType, event: str, _: Any) -> None:
                nonlocal hops
                hops += event == "call" and frame.f_code is Pool.run.__code__

            before = sys.getprofile()
            sys.setprofile(look)
            try:
                await checker.requestAvatarId(Password(b"alice", b"x"))
            finally:
                sys.setprofile(before)
            assert (len(asked), hops) == (questions, 1)
            await checker.stop()

    async def test_ten_thousand_users_are_listed_by_pages(self) -> None:
        names = [f"user{number}@example.org" for number in range(USERS)]
        self.site.insert("users", [{"username": name} for name in names])
        checker = await self.started()
        asked = self.counted()
        after, found = "", []
        while page := await checker.names(after, PAGE):
            found += page
            after = page[-1]
        assert found == sorted(names)
        assert [rows for _, rows in asked] == [PAGE] * (USERS // PAGE) + [0]


class SQLiteCostsTests(Costs, SqlCase):
    link = sqlite.SQLiteLink


class PostgreSQLCostsTests(Costs, InPostgreSQL):
    link = postgresql.PostgreSQLLink
