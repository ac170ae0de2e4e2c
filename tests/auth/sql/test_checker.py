"""What rows mean, whatever the database; and what a checker does with settings, statements and answers that are wrong."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernameHashedPassword
from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.logger import capturedLogs
from zope.interface.verify import verifyObject

from mailserver.auth.scram_keys import derive
from mailserver.auth.sql import checker as module
from mailserver.auth.sql.checker import SqlUsers
from mailserver.auth.sql.settings import SqlFileError
from mailserver.auth.sql.sqlite import SQLiteLink
from mailserver.credentials import Apop, CramMd5, Password
from mailserver.errors import LoginRefused, TemporaryFailure
from mailserver.interfaces import BY_SECRET, IPart, IUserList, IUsers, IVerifiers, Quota, User, UserId
from mailserver.names import Names
from mailserver.testing.contracts.checkers import STAMP, digest
from tests.auth.sql.cases import InMariaDB, InPostgreSQL, SqlCase
from tests.auth.sql.sites import SqlSite

BCRYPT = "{BLF-CRYPT}$2b$04$X0pWikb8bIyi4dpslEfpbemVHgZ31n9QCZLBHKF0kO2lP76agLs.C"
CRYPT = "$6$rounds=1000$ab$PjG1Vkf5LHNL84dByLtuSYjVz6Hy575FC7tz8wX4DtJ2WMsZQu0/miZCNEiAa8uwa8QG5xPQJgcyUioQ0Ac/G/"
"""Both of the password x."""


class Rows:
    """What every database's rows mean."""

    site: SqlSite
    started: Any

    async def user(self, **columns: Any) -> User | None:
        self.site.add("alice@example.org", "{PLAIN}x", **columns)
        checker = await self.started()
        found = await checker.lookup("alice@example.org")
        taken = await checker.requestAvatarId(Password(b"alice@example.org", b"x"))
        assert isinstance(taken, UserId)
        assert taken.user == found
        return found

    async def test_columns_are_the_user_s_attributes(self) -> None:
        user = await self.user(
            home="/home/./alice",
            mail="maildir:~/Mail",
            quota="1000",
            quota_messages="5",
            allow_nets="192.0.2.0/24, ::1",
            disabled="0",
            listeners="pop3s, tls",
            read_only="1",
            expire_days="30",
            login_delay="900",
        )
        assert user == User(
            "alice@example.org",
            home="/home/alice",
            mail="maildir:~/Mail",
            networks=(ip_network("192.0.2.0/24"), ip_network("::1/128")),
            quota=Quota(1000, 5),
            listeners=frozenset({"pop3s", "tls"}),
            read_only=True,
            expire_days=30,
            login_delay=900,
        )

    async def test_null_is_no_restriction(self) -> None:
        assert await self.user() == User("alice@example.org")

    async def test_types_of_their_own_will_do(self) -> None:
        q = self.site.quote
        self.site.run("CREATE TABLE typed (n varchar(9), quota bigint, off boolean, since date)")
        self.site.run("INSERT INTO typed VALUES ('bob', 1048576, false, '2020-01-01')")
        columns = f"n AS {q}user{q}, '{{PLAIN}}x' AS password, quota, off AS disabled"
        expired = "SELECT 'phone' AS name, '{PLAIN}y' AS password, since AS expires FROM typed WHERE n = {user}"
        checker = await self.started(
            queries={"user": f"SELECT {columns} FROM typed WHERE n = {{user}}", "app_passwords": expired}
        )
        taken = await checker.requestAvatarId(Password(b"bob", b"x"))
        assert taken.user == User("bob", quota=Quota(1048576, 0))
        with pytest.raises(LoginRefused):
            await checker.requestAvatarId(Password(b"bob", b"y"))
        self.site.run("DROP TABLE typed")

    async def test_an_app_password_lets_in_as_its_row_says(self) -> None:
        self.site.add("alice", BCRYPT, home="/home/alice")
        self.site.app("alice", "phone", "{PLAIN}one", listeners="pop3s", expires="2999-01-01 00:00:00")
        self.site.app("alice", "old", "{PLAIN}two", expires="2020-01-01 00:00:00")
        self.site.app("alice", "odd", "{PLAIN}three", expires="soon")
        self.site.app("bob", "other", "{PLAIN}four")
        checker = await self.started()
        taken = await checker.requestAvatarId(Password(b"alice", b"one"))
        assert taken.user == User("alice", home="/home/alice", listeners=frozenset({"pop3s"}), secret="phone")
        assert (await checker.requestAvatarId(Password(b"alice", b"x"))).user == User("alice", home="/home/alice")
        for wrong in (b"two", b"three", b"four", b"five"):
            with pytest.raises(LoginRefused, match=r"^$"):
                await checker.requestAvatarId(Password(b"alice", wrong))

    async def test_a_name_in_another_spelling_is_unknown(self) -> None:
        self.site.run("CREATE TABLE loose (n varchar(99))", "INSERT INTO loose VALUES ('alice')")
        q = self.site.quote
        checker = await self.started(
            queries={
                "user": f"SELECT n AS {q}user{q}, '{{PLAIN}}x' AS password FROM loose WHERE lower(n) = lower({{user}})",
                "app_passwords": "",
            }
        )
        assert await checker.requestAvatarId(Password(b"alice", b"x")) == b"alice"
        with pytest.raises(LoginRefused) as caught:
            await checker.requestAvatarId(Password(b"ALICE", b"x"))
        assert caught.value.known is False
        assert "'alice' is known" in caught.value.hint
        assert await checker.lookup("ALICE") is None
        self.site.run("DROP TABLE loose")

    async def test_what_the_database_says_of_a_statement_is_told_at_the_start(self) -> None:
        for what, text, said in (
            ("user", "SELECT password FROM nowhere WHERE username = {user}", "nowhere"),
            ("user", "SELECT passwort FROM users WHERE username = {user}", "passwort"),
            ("user", "SELEKT password FROM users WHERE username = {user}", "SELEKT"),
            ("app_passwords", "SELECT name, password FROM apps WHERE nobody = {user}", "nobody"),
            ("iterate", "SELECT username FROM nowhere", "nowhere"),
            ("iterate", "SELECT username FROM users", "AS user"),
        ):
            with pytest.raises(SqlFileError, match=f"queries.{what}: .*{said}"):
                await self.started(queries={what: text})

    async def test_columns_that_nobody_knows_are_told_at_the_start(self) -> None:
        q = self.site.quote
        user = f"username AS {q}user{q}"
        for text, said in (
            (
                f"SELECT {user}, password, home AS hoem FROM users WHERE username = {{user}}",
                '"hoem"; did you mean "home"',
            ),
            (f"SELECT {user}, password, password FROM users WHERE username = {{user}}", '"password" twice'),
            ("SELECT * FROM users WHERE username = {user}", 'unknown column "username"'),
        ):
            with pytest.raises(SqlFileError) as caught:
                await self.started(queries={"user": text})
            assert said in str(caught.value)
        with pytest.raises(SqlFileError, match='no column "password"'):
            await self.started(
                queries={"user": f"SELECT {user} FROM users WHERE username = {{user}}", "app_passwords": ""}
            )
        if self.site.kind == "mysql":
            with pytest.raises(SqlFileError, match='no column "user"'):
                await self.started(queries={"user": "SELECT password FROM users WHERE username = {user}"})

    async def test_a_table_that_changes_is_a_temporary_failure_until_it_is_mended(self) -> None:
        self.site.run(
            "CREATE TABLE moving (n varchar(99), password text)", "INSERT INTO moving VALUES ('alice', '{PLAIN}x')"
        )
        q = self.site.quote
        checker = await self.started(
            queries={"user": f"SELECT n AS {q}user{q}, password FROM moving WHERE n = {{user}}", "app_passwords": ""}
        )
        self.site.run("ALTER TABLE moving RENAME COLUMN password TO secret")
        with capturedLogs() as events:
            for _ in range(3):
                with pytest.raises(TemporaryFailure):
                    await checker.requestAvatarId(Password(b"alice", b"x"))
        assert [event["event"] for event in events if "event" in event] == ["auth.sql.down"]
        assert "password" in events[0]["reason"]
        self.site.run("ALTER TABLE moving RENAME COLUMN secret TO password")
        with capturedLogs() as events:
            assert await checker.requestAvatarId(Password(b"alice", b"x")) == b"alice"
        assert [event["event"] for event in events if "event" in event] == ["auth.sql.up"]
        self.site.run("DROP TABLE moving")

    async def test_a_column_that_comes_later_is_a_temporary_failure(self) -> None:
        self.site.run(f"CREATE TABLE growing ({self.site.quote}user{self.site.quote} varchar(99), password text)")
        checker = await self.started(
            queries={
                "user": f"SELECT * FROM growing WHERE {self.site.quote}user{self.site.quote} = {{user}}",
                "app_passwords": "",
            }
        )
        assert await checker.lookup("alice") is None
        self.site.run("ALTER TABLE growing ADD COLUMN locked text")
        with capturedLogs() as events, pytest.raises(TemporaryFailure):
            await checker.lookup("alice")
        assert 'unknown column "locked"' in events[0]["reason"]
        self.site.run("DROP TABLE growing")

    async def test_too_many_rows_are_a_temporary_failure(self) -> None:
        q = self.site.quote
        some = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)"
        many = f"{some} SELECT 'alice' AS {q}user{q}, '{{PLAIN}}x' AS password FROM n WHERE 'alice' = {{user}}"
        checker = await self.started(queries={"user": many})
        for _ in range(2):
            with capturedLogs() as events, pytest.raises(TemporaryFailure):
                await checker.lookup("alice")
            assert await checker.lookup("bob") is None
        assert not [event for event in events if "reason" in event and "more than 50 rows" not in event["reason"]]

    async def test_fifty_app_passwords_are_not_too_many(self) -> None:
        self.site.add("alice", "{PLAIN}x")
        last, some = "SELECT i + 1 FROM n WHERE i < ", "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL"
        many = "SELECT 'phone' AS name, '{PLAIN}y' AS password FROM n WHERE 'alice' = {user}"
        checker = await self.started(queries={"app_passwords": f"{some} {last} 50) {many}"})
        assert await checker.requestAvatarId(Password(b"alice", b"y")) == b"alice"
        checker = await self.started(queries={"app_passwords": f"{some} {last} 51) {many}"})
        with pytest.raises(TemporaryFailure):
            await checker.requestAvatarId(Password(b"alice", b"y"))

    async def test_pages_leave_out_whom_nobody_can_be(self) -> None:
        for name in ("alice", "b/ob", "carol", "dave", "Eve"):
            self.site.add(name, None)
        checker = await self.started()
        checker.naming = Names(case="lower")
        assert await checker.names("", 2) == ["alice", "carol"]
        assert await checker.names("carol", 5) == ["dave"]


class SQLiteRowsTests(Rows, SqlCase):
    async def test_pages_go_on_behind_names_that_are_no_utf_8(self) -> None:
        self.site.run(
            "INSERT INTO users (username) VALUES (CAST(x'41ff' AS TEXT)), (CAST(x'4242ff' AS TEXT)), ('carol')"
        )
        checker = await self.started()
        assert await checker.names("", 1) == ["carol"]

    async def test_it_cannot_write(self) -> None:
        writes = "INSERT INTO apps (username) VALUES ({user}) RETURNING '{PLAIN}x' AS password"
        checker = await self.started(queries={"user": writes, "app_passwords": ""})
        with pytest.raises(TemporaryFailure):
            await checker.requestAvatarId(Password(b"alice", b"x"))
        with closing(sqlite3.connect(self.site.file)) as connection:
            assert connection.execute("SELECT * FROM apps").fetchall() == []


class PostgreSQLRowsTests(Rows, InPostgreSQL):
    async def test_a_password_may_be_octets(self) -> None:
        self.site.run("CREATE TABLE octets (n text, p bytea)", "INSERT INTO octets VALUES ('alice', '{PLAIN}\\\\x')")
        queries = {"user": "SELECT p AS password FROM octets WHERE n = {user}", "app_passwords": ""}
        checker = await self.started(queries=queries)
        assert await checker.requestAvatarId(Password(b"alice", b"\\x")) == b"alice"
        self.site.run("DROP TABLE octets")


class MariaDBRowsTests(Rows, InMariaDB):
    pass


class CheckerTests(SqlCase):
    async def test_it_provides_its_interfaces(self) -> None:
        checker = await self.started()
        for interface in (ICredentialsChecker, IUsers, IUserList, IVerifiers, IPart):
            verifyObject(interface, checker)
        assert "sql.toml" in repr(checker)

    async def test_without_a_statement_for_it_users_are_not_listed(self) -> None:
        checker = await self.started(queries={"iterate": ""})
        assert not IUserList.providedBy(checker)
        self.site.write()
        await checker.reload()
        assert IUserList.providedBy(checker)
        self.site.write(queries={"iterate": ""})
        await checker.reload()
        assert not IUserList.providedBy(checker)

    async def test_what_a_restricting_column_does_not_say_clearly_denies(self) -> None:
        checker = await self.started()
        for number, (column, value, said) in enumerate(
            (
                ("disabled", "1", "disabled in the database"),
                ("disabled", "moved away", "disabled: 'moved away'"),
                ("allow_nets", "", "allow_nets has no valid network: ''"),
                ("allow_nets", "nowhere", "allow_nets has no valid network: 'nowhere'"),
                ("listeners", "", "listeners names no listeners, such as pop3s or tls: ''"),
                ("listeners", "pop3;", "listeners names no listeners, such as pop3s or tls: 'pop3;'"),
                ("read_only", "perhaps", "read_only is neither true nor false: 'perhaps'"),
                ("login_delay", "-1", "login_delay is no whole number: '-1'"),
                ("quota", "1G", "quota is no whole number: '1G'"),
                ("expire_days", b"\xff", "expire_days is no whole number: '\\udcff'"),
                ("home", "/home/\0", "home has a NUL"),
            )
        ):
            name = f"user{number}"
            self.site.add(name, "{PLAIN}x", **{column: value})
            user = await checker.lookup(name)
            assert (user.denied, [str(each) for each in user.networks]) == (said, ["255.255.255.255/32"])
            with pytest.raises(LoginRefused) as caught:
                await checker.requestAvatarId(Password(name.encode(), b"x"))
            assert caught.value.reason == said

    async def test_a_secret_that_cannot_be_used_gives_its_reason(self) -> None:
        checker = await self.started()
        for name, stored, said in (
            ("null", None, "there is no password"),
            ("empty", "", "there is no password"),
            ("odd", "{ODD}x", "the scheme ODD is not supported"),
            ("bare", "x", "it is none of the supported crypt formats"),
            ("binary", b"\x00\xff", "it is none of the supported crypt formats"),
        ):
            self.site.add(name, stored)
            for password in (b"", b"x", stored.encode() if isinstance(stored, str) else b"\xff"):
                with pytest.raises(LoginRefused) as caught:
                    await checker.requestAvatarId(Password(name.encode(), password))
                assert caught.value.reason.startswith(said)

    async def test_secrets_without_a_scheme_have_the_one_of_the_settings(self) -> None:
        self.site.add("alice", "x")
        self.site.add("bob", BCRYPT)
        checker = await self.started(password_scheme="plain")
        for name in (b"alice", b"bob"):
            assert await checker.requestAvatarId(Password(name, b"x")) == name

    async def test_two_rows_are_a_temporary_failure(self) -> None:
        self.site.add("alice", "{PLAIN}x")
        self.site.add("bob", "{PLAIN}x")
        both = "SELECT password FROM users WHERE {user} IS NOT NULL"
        checker = await self.started(queries={"user": both})
        with pytest.raises(TemporaryFailure):
            await checker.requestAvatarId(Password(b"alice", b"x"))
        with pytest.raises(TemporaryFailure):
            await checker.lookup("alice")

    async def test_an_answer_without_end_is_a_temporary_failure(self) -> None:
        many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT {user} AS password FROM n"
        checker = await self.started(queries={"user": many})
        with pytest.raises(TemporaryFailure):
            await checker.requestAvatarId(Password(b"alice", b"x"))

    async def test_digests_are_for_tables_of_clear_passwords(self) -> None:
        self.site.add("alice", "{PLAIN}x", home="/home/alice")
        self.site.add("bob", BCRYPT)
        checker = await self.started(secrets="clear")
        assert IUsernameHashedPassword in checker.credentialInterfaces
        assert checker.census().uncounted == BY_SECRET
        taken = await checker.requestAvatarId(Apop(STAMP, b"alice", digest(b"x")))
        assert taken.user.home == "/home/alice"
        with pytest.raises(LoginRefused) as caught:
            await checker.requestAvatarId(Apop(STAMP, b"bob", digest(b"x")))
        assert caught.value.reason == "APOP needs a password in clear, and the database has none of this user"
        with pytest.raises(LoginRefused) as caught:
            await checker.requestAvatarId(CramMd5(b"alice", b"<challenge>", b"wrong"))
        assert caught.value.reason == "wrong password"
        hashed = await self.started()
        assert IUsernameHashedPassword not in hashed.credentialInterfaces
        assert hashed.mechanisms() == hashed.census().uncounted == frozenset()
        with pytest.raises(LoginRefused):
            await hashed.requestAvatarId(Apop(STAMP, b"alice", digest(b"x")))

    async def test_scram_is_served_from_the_own_password_alone(self) -> None:
        self.site.add("alice", "{PLAIN}x")
        for name, stored in (("bob", BCRYPT), ("carol", None)):
            self.site.add(name, stored)
            self.site.app(name, "phone", "{PLAIN}y")
        checker = await self.started(secrets="clear")
        mechanism = b"SCRAM-SHA-256"
        assert mechanism in checker.mechanisms()
        keys = await checker.verifier(b"alice", mechanism)
        assert keys == await checker.verifier(b"alice", mechanism)
        assert checker.explain("alice", mechanism).reason == "wrong password"
        self.site.run("UPDATE users SET password = '{PLAIN}z' WHERE username = 'alice'")
        assert keys != await checker.verifier(b"alice", mechanism)
        for name in (b"bob", b"carol", b"nobody"):
            fake = await checker.verifier(name, mechanism)
            assert (fake.salt, fake.iterations) == ((await checker.verifier(name, mechanism)).salt, keys.iterations)
            assert fake != derive(b"y", fake.salt, fake.iterations, "sha256")
        assert "needs a password in clear" in checker.explain("bob", mechanism).reason
        assert checker.explain("nobody", mechanism).known is False
        assert checker.explain("never asked", mechanism).known is None
        assert len(await checker.verifier(b"alice", b"DIGEST-MD5", b"realm")) == 16

    async def test_a_verified_password_is_remembered_until_the_entry_changes(self) -> None:
        self.site.add("alice", BCRYPT)
        verified: list[bytes] = []
        now = [0.0]

        checker = SqlUsers(self.site.write(remember_seconds=100), seconds=lambda: now[0])
        await checker.start(reactor)
        self.addCleanup(checker.stop)
        run = checker.hashing.run

        def counted(work: Any, *arguments: Any) -> Any:
            verified.append(arguments[0])
            return run(work, *arguments)

        self.patch(checker.hashing, "run", counted)

        async def hashes(password: bytes = b"x") -> int:
            verified.clear()
            assert await checker.requestAvatarId(Password(b"alice", password)) == b"alice"
            return len(verified)

        assert [await hashes(), await hashes()] == [1, 0]
        now[0] += 101
        assert [await hashes(), await hashes()] == [1, 0]
        self.site.run(f"UPDATE users SET password = '{CRYPT}' WHERE username = 'alice'")
        assert [await hashes(), await hashes()] == [1, 0]
        await checker.reload()
        assert [await hashes(), await hashes()] == [1, 0]
        self.site.path.write_text("broken")
        await checker.reload()
        assert await hashes() == 1
        self.site.write(remember_seconds=0)
        await checker.reload()
        assert [await hashes(), await hashes()] == [1, 1]

    async def test_a_refusal_costs_the_same_whether_the_user_exists(self) -> None:
        self.site.add("alice", BCRYPT)
        self.site.add("denied", BCRYPT, disabled="1")
        checker = await self.started()
        assert await checker.requestAvatarId(Password(b"alice", b"x")) == b"alice"
        run, costs = checker.hashing.run, []

        def counted(work: Any, *arguments: Any) -> Any:
            costs.append(work)
            return run(work, *arguments)

        self.patch(checker.hashing, "run", counted)
        for name in (b"alice", b"denied", b"nobody", b"no/body"):
            with pytest.raises(LoginRefused):
                await checker.requestAvatarId(Password(name, b"wrong"))
        assert len(costs) == 4

    async def test_a_login_asks_once(self) -> None:
        self.site.add("alice", "{PLAIN}x")
        checker = await self.started(queries={"app_passwords": ""})
        asked: list[str] = []
        original = SQLiteLink.ask

        def counted(link: SQLiteLink, statement: Any, *arguments: Any) -> Any:
            asked.append(statement.text)
            return original(link, statement, *arguments)

        self.patch(SQLiteLink, "ask", counted)
        await checker.requestAvatarId(Password(b"alice", b"x"))
        assert len(asked) == 1

    async def test_a_broken_file_leaves_the_old_settings_in_use(self) -> None:
        self.site.add("alice", "{PLAIN}x")
        checker = await self.started()
        self.site.path.write_text("kind = 1")
        with capturedLogs() as events:
            await checker.reload()
        assert [event["event"] for event in events if "event" in event] == ["auth.sql.kept"]
        assert await checker.requestAvatarId(Password(b"alice", b"x")) == b"alice"

    async def test_a_reload_costs_no_login(self) -> None:
        self.site.add("alice", "{PLAIN}x")
        checker = await self.started(connections=1)
        logins = [checker.requestAvatarId(Password(b"alice", b"x")) for _ in range(20)]
        reloaded = checker.reload()
        assert await gatherResults(logins) == [b"alice"] * 20
        await reloaded
        assert await checker.requestAvatarId(Password(b"alice", b"x")) == b"alice"

    async def test_a_stop_ends_what_is_asked(self) -> None:
        self.site.add("alice", "{PLAIN}x")
        checker = await self.started(connections=1)
        logins = [checker.requestAvatarId(Password(b"alice", b"x")) for _ in range(20)]
        with capturedLogs() as events:
            await checker.stop()
            for each in logins[1:]:
                with pytest.raises(TemporaryFailure):
                    await each
            logins[0].addErrback(lambda failure: failure.trap(TemporaryFailure))
            await logins[0]
        assert not [event for event in events if "event" in event]

    async def test_after_a_stop_nothing_is_answered(self) -> None:
        checker = await self.started()
        await checker.stop()
        await checker.stop()
        await checker.reload()
        with pytest.raises(RuntimeError, match="is not running"):
            await checker.requestAvatarId(Password(b"alice", b"x"))

    async def test_a_file_that_replaces_the_database_is_read(self) -> None:
        self.site.add("alice", "{PLAIN}x")
        checker = await self.started()
        assert await checker.lookup("alice") is not None
        other = self.site.folder / "other"
        with closing(sqlite3.connect(self.site.file)) as old, closing(sqlite3.connect(other)) as new, new:
            old.backup(new)
            new.execute("DELETE FROM users")
        other.rename(self.site.file)
        assert await checker.lookup("alice") is None

    async def test_a_file_that_is_no_database_is_told_at_the_start(self) -> None:
        for path, said in (("/nonexistent/users.sqlite", "No such file"), (__file__, "not a database")):
            with pytest.raises(SqlFileError, match=said):
                await self.started(database=path)

    async def test_explanations_are_bounded(self) -> None:
        self.patch(module, "MAX_EXPLAINED", 3)
        checker = await self.started(secrets="clear")
        for number in range(5):
            await checker.verifier(b"user%d" % number, b"DIGEST-MD5")
        assert checker.explain("user0", b"DIGEST-MD5").known is None
        assert checker.explain("user4", b"DIGEST-MD5").known is False


class StartTests(SqlCase):
    """Of the servers: what is wrong with the settings is told, and a server that is down is not."""

    @pytest.fixture(autouse=True)
    def _servers(self, request: pytest.FixtureRequest, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.capfd = capfd
        self.sites = [
            SqlSite(tmp_path, request.getfixturevalue("postgresql")),
            SqlSite(tmp_path, request.getfixturevalue("mariadb")),
        ]

    async def check(self, site: SqlSite, **values: Any) -> SqlUsers:
        self.site = site
        return await self.started(**values)

    async def test_a_wrong_password_or_database_is_told(self) -> None:
        for site in self.sites:
            for wrong in ({"password": "wrong"}, {"user": "nobody"}, {"database": "nowhere"}):
                with pytest.raises(SqlFileError) as caught:
                    await self.check(site, **wrong)
                assert "sql.toml" in str(caught.value)
                assert "wrong" not in str(caught.value).replace(str(site.path), "")

    async def test_a_socket_will_do(self) -> None:
        for site in self.sites:
            assert site.database is not None
            site.add("alice", "{PLAIN}x")
            way: dict[str, Any] = {"host": None, "socket": str(site.database.socket)}
            if site.kind == "postgresql":
                way |= {"user": "postgres", "password": None}
            checker = await self.check(site, **way)
            assert await checker.requestAvatarId(Password(b"alice", b"x")) == b"alice"
            assert self.capfd.readouterr().err == ""  # libpq has opinions on password files

    async def test_tls_is_verified(self) -> None:
        for site in self.sites:
            assert site.database is not None
            site.add("alice", "{PLAIN}x")
            trusted = {"tls": "verify", "tls_ca": str(site.database.certificate), "host": "localhost"}
            checker = await self.check(site, **trusted)
            assert await checker.requestAvatarId(Password(b"alice", b"x")) == b"alice"
            for wrong in (
                {"host": "127.0.0.1"},
                {"tls_ca": ""},
            ):  # the certificate is localhost's, and nobody vouches for it
                with pytest.raises(SqlFileError, match="certificate"):
                    await self.check(site, **(trusted | wrong))

    async def test_a_server_that_is_down_is_no_error_at_the_start(self) -> None:
        for site in self.sites:
            assert site.database is not None
            site.add("alice", "{PLAIN}x")
            with capturedLogs() as events, site.database.down(gently=True):
                checker = await self.check(site)
                for _ in range(3):
                    with pytest.raises(TemporaryFailure):
                        await checker.requestAvatarId(Password(b"alice", b"x"))
            assert [event["event"] for event in events if "event" in event] == ["auth.sql.down"]
            assert await checker.requestAvatarId(Password(b"alice", b"x")) == b"alice"

    async def test_it_cannot_write(self) -> None:
        site = self.sites[0]
        assert site.database is not None
        site.database.execute(
            site.name,
            "CREATE OR REPLACE FUNCTION spoil(name text) RETURNS text LANGUAGE sql SECURITY DEFINER AS "
            "$$ INSERT INTO apps (username) VALUES (name) RETURNING '{PLAIN}x' $$",
        )
        checker = await self.check(site, queries={"user": "SELECT spoil({user}) AS password"})
        with pytest.raises(TemporaryFailure):
            await checker.requestAvatarId(Password(b"alice", b"x"))
