"""The users of a database as lines of a passwd-file: whoever may log in by the one may by the other."""

import os
from base64 import b64encode

import pytest
from twisted.internet import reactor

from mailserver.auth.passwd.checker import PasswordFile
from mailserver.cli import sql_rows
from mailserver.credentials import Password
from mailserver.migration.users.converted import Unconvertible
from tests.auth.sql.cases import InMariaDB, InPostgreSQL, SqlCase
from tests.cli.running import run
from tests.databases import mariadb, postgresql

__all__ = ["mariadb", "postgresql"]


class Contract:
    """Users, and a page more of them than is asked for at once."""

    def fill(self):
        self.site.add("alice@example.org", "wonder:land é", home="/home/alice", mail="maildir:~/Mail", quota="1000")
        self.site.add(
            "bob",
            "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=",
            quota_messages="5",
            allow_nets="127.0.0.0/8,::1",
            listeners="pop3s, tls",
        )
        self.site.add("carol", "{PLAIN}x", disabled="moved", read_only="1", expire_days="30", login_delay="9")
        self.site.add("dave", None)
        self.site.app("dave", "phone", "{PLAIN}of the phone", listeners="pop3s", expires="2100-01-01")
        self.site.app("dave", "old phone", "{PLAIN}other")
        self.site.insert(
            "users", [{"username": f"user{number:03}", "password": "{PLAIN}x"} for number in range(sql_rows.PAGE)]
        )

    async def test_every_user_is_the_same_by_both_checkers(self):
        self.fill()
        asked = await self.started(password_scheme="PLAIN")
        converted = sql_rows.read_rows(str(self.site.path))
        path = self.site.folder / "users"
        path.write_text(converted.text)
        made = PasswordFile(str(path))
        await made.start(reactor)
        self.addCleanup(made.stop)
        names = await asked.names("", 9999)
        assert await made.names("", 9999) == names
        assert len(names) == 4 + sql_rows.PAGE
        for name in names[:6]:
            one, other = await asked.lookup(name), await made.lookup(name)
            assert (one.denied != "") == (other.denied != "")
            if not one.denied:
                assert other == one
        assert (
            await made.requestAvatarId(Password(b"alice@example.org", "wonder:land é".encode()))
        ) == b"alice@example.org"
        assert (await made.requestAvatarId(Password(b"bob", b"password"))) == b"bob"
        assert [(each.about, "app password" in each.text) for each in converted.remarks] == [("dave", True)]
        dave = await made.requestAvatarId(Password(b"dave", b"of the phone"))
        assert (dave.user.secret, dave.user.listeners) == ("phone", frozenset({"pop3s"}))

    def test_who_has_app_passwords_alone_needs_no_column_with_another(self):
        self.site.add("dave", None)
        self.site.app("dave", "phone", "{PLAIN}x")
        user = f"SELECT username AS {self.site.quote}user{self.site.quote} FROM users WHERE username = {{user}}"
        converted = sql_rows.read_rows(self.site.write(queries={"user": user}))
        assert converted.text.endswith("\ndave:::::::app_password=phone:::{PLAIN}x\n")

    def test_what_is_shown_has_no_secret(self):
        self.fill()
        self.site.write(password_scheme="PLAIN")
        converted = sql_rows.read_rows(str(self.site.path))
        for secret in (
            "land",
            b64encode("wonder:land é".encode()).decode(),
            "W6ph5",
            "of the phone",
            b64encode(b"of the phone").decode(),
        ):
            assert secret not in converted.shown + repr(converted)
        assert "app_password=phone:pop3s:2100-01-01:..." in converted.shown


class TestSQLite(Contract, SqlCase):
    pass


class TestPostgreSQL(Contract, InPostgreSQL):
    pass


class TestMariaDB(Contract, InMariaDB):
    pass


class TestTrouble(SqlCase):
    """What cannot be asked."""

    def test_a_database_that_does_not_answer_is_told_and_a_file_without_a_list_too(self):
        with pytest.raises(Unconvertible, match=r"queries\.iterate"):
            sql_rows.read_rows(self.site.write(queries={"iterate": ""}))
        path = self.site.write(database="/nowhere/users.sqlite")
        told = run("migrate", "users", "sql", path)
        assert told.returncode == os.EX_DATAERR
        assert told.stderr.count(b"\n") == 1
        with pytest.raises(Unconvertible, match="must be given"):
            sql_rows.read_rows(self.site.write(queries={"user": ""}))

    def test_who_is_listed_and_unknown_is_told(self):
        self.site.add("alice", "{PLAIN}x")
        path = self.site.write(queries={"iterate": "SELECT 'bob' AS \"user\""})
        (remark,) = sql_rows.read_rows(path).remarks
        assert (remark.about, "does not know it" in remark.text) == ("bob", True)

    def test_the_command_shows_them(self):
        self.site.add("alice", "{PLAIN}sesame")
        told = run("migrate", "users", "sql", self.site.write())
        assert (told.returncode, told.stderr) == (0, b"")
        assert told.stdout.endswith(b"\nalice:{PLAIN}...\n")
