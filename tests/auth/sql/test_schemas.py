"""The files of etc/sql do what they say on the tables of the programs that they are for; only the connection is another."""

from __future__ import annotations

import json
import sqlite3
import tomllib
from base64 import b64encode
from collections.abc import Mapping
from contextlib import closing
from hashlib import sha256, sha512
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Final

import pytest
from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from mailserver.auth.sql.checker import SqlUsers
from mailserver.credentials import Password
from mailserver.errors import LoginRefused
from mailserver.interfaces import Quota, User
from tests.databases import PASSWORD, USER, Database, MariaDB, PostgreSQL

SCHEMAS: Final = Path(__file__).parent / "schemas"
FILES: Final = Path(__file__).parents[3] / "etc/sql"

CONNECTION: Final = ("kind", "host", "port", "socket", "database", "user", "password")

# Secrets of the password "tanstaaf" as the programs write them.
MD5_CRYPT: Final = "$1$6oJUMQN6$L/6fjK5t4FpFFMOUQ4W611"
SHA256_CRYPT: Final = "$5$Va56SeJR/i3VAUdO$Odp342mGlGkYoXpsHTlJcv46CJ498kIPcYw9hI46FMB"
SHA512_CRYPT: Final = (
    "$6$YmsoZunn9XwCfM4o$noAlbwl59bWlpJIUP/VO9uTewcsIz/wCWykSA68azkh0zwmLXVnkexviXgbmDTEWS23TBK.0yXvCOq7BVDTNw."
)
BCRYPT: Final = "$2y$05$bCbfUYaLEvpMCfYKioLbXO5sd1XQop3ZL.VfOVwVH2xhkKWGOiWB6"
SHA256: Final = b64encode(sha256(b"tanstaaf").digest()).decode()
SSHA: Final = "64geQ3xyVTR+5h2dKnK0nPKNjxOwruOc"
SSHA512: Final = "{SSHA512}xu4owhqwRvokGtC3MwjuCoSPGGVjFoqoESam47WSXjEYE8amPRPRpiipuN9fnc7/0F1uXpJll48zyC7qIfkRUpnI1sA="
BCRYPT_OF_X: Final = "$2b$04$X0pWikb8bIyi4dpslEfpbemVHgZ31n9QCZLBHKF0kO2lP76agLs.C"
SHA512_CRYPT_OF_X: Final = (
    "$6$ApH8juX1P0CUsMWW$zjEjXjTNBvD5r8sQCed78JGSjDdvD6NUOO4SRP2xByQwFL2mKr5z9Bi8G04n98ndHh3jtcOAnyIa/doc3rlfA."
)
SALT: Final = b"0f1e2d3c4b5a6978"


def salted(scheme: str, hashed: Any) -> str:
    """``{SSHA256}`` and its like: the salt stands behind the digest."""
    return f"{{{scheme}}}" + b64encode(hashed(b"tanstaaf" + SALT).digest() + SALT).decode()


class Site:
    """A program's tables in a fresh database, and checkers by its file; beside a TestCase and a kind of database."""

    program = ""
    kind = "sqlite"
    database: Database | None = None
    replaced: tuple[tuple[str, str], ...] = ()
    """What the file says is to be written otherwise for this kind."""
    addCleanup: Any  # noqa: N815 - TestCase names it so

    def make(self, folder: Path) -> None:
        self.folder = folder
        schema = (SCHEMAS / f"{self.program}.{self.kind}.sql").read_text("utf-8")
        if self.database is None:
            self.name = str(folder / "users.sqlite")
            with closing(sqlite3.connect(self.name)) as connection, connection:
                connection.executescript(schema)
        else:
            self.name = self.database.fresh()
            self.database.script(self.name, schema)

    def insert(self, table: str, **columns: Any) -> None:
        mark = "?" if self.database is None else "%s"
        statement = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join([mark] * len(columns))})"
        if self.database is not None:
            self.database.execute(self.name, statement, values=list(columns.values()))
            return
        with closing(sqlite3.connect(self.name)) as connection, connection:
            connection.execute(statement, list(columns.values()))

    async def checker(self, *replaced: tuple[str, str]) -> SqlUsers:
        """Started by the file, with another connection, and with what is `replaced` in it."""
        text = (FILES / f"{self.program}.toml").read_text("utf-8")
        for old, new in (*self.replaced, *replaced):
            assert old in text
            text = text.replace(old, new)
        settings = {name: value for name, value in tomllib.loads(text).items() if name not in CONNECTION}
        settings |= {"kind": self.kind, "database": self.name}
        if self.database is not None:
            settings |= {"host": "127.0.0.1", "port": self.database.port, "user": USER, "password": PASSWORD}
        path = self.folder / "sql.toml"
        path.touch(mode=0o600)
        path.write_text(written(settings), "utf-8")
        checker = SqlUsers(str(path))
        await checker.start(reactor)
        self.addCleanup(checker.stop)
        return checker

    async def user(self, checker: SqlUsers, name: str, password: str = "tanstaaf") -> User:
        """Who gets in."""
        taken: Any = await checker.requestAvatarId(Password(name.encode(), password.encode()))
        assert taken == name.encode()
        user: User = taken.user
        return user

    async def refusal(self, checker: SqlUsers, name: str, password: str = "tanstaaf") -> str:
        """Why somebody does not get in."""
        try:
            taken: Any = await checker.requestAvatarId(Password(name.encode(), password.encode()))
        except LoginRefused as error:
            return error.reason
        denied: str = taken.user.denied
        assert denied, f"{name} gets in"
        return denied

    async def unknown(self, checker: SqlUsers, *names: str) -> None:
        """Nobody of these names can log in, since none is a user's."""
        for name in names:
            assert await checker.lookup(name) is None
            assert "unknown user" in await self.refusal(checker, name)


def written(settings: Mapping[str, Any]) -> str:
    tables = {name: value for name, value in settings.items() if isinstance(value, dict)}
    lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items() if name not in tables]
    for table, values in tables.items():
        lines += [f"[{table}]", *(f"{name} = {json.dumps(value)}" for name, value in values.items())]
    return "\n".join(lines) + "\n"


class OnSQLite(Site):
    @pytest.fixture(autouse=True)
    def _database(self, tmp_path: Path) -> None:
        self.make(tmp_path)


class OnPostgreSQL(Site):
    kind = "postgresql"

    @pytest.fixture(autouse=True)
    def _database(self, tmp_path: Path, postgresql: PostgreSQL) -> None:
        self.database = postgresql
        self.make(tmp_path)


class OnMariaDB(Site):
    kind = "mysql"

    @pytest.fixture(autouse=True)
    def _database(self, tmp_path: Path, mariadb: MariaDB) -> None:
        self.database = mariadb
        self.make(tmp_path)


class PostfixAdmin(Site):
    program = "postfixadmin"

    def add(self, name: str, secret: str = MD5_CRYPT, **columns: Any) -> None:
        local, _, domain = name.partition("@")
        basics = {"username": name, "password": secret, "name": "", "maildir": f"{domain}/{local}/"}
        self.insert("mailbox", **{**basics, "local_part": local, "domain": domain, **columns})
        self.insert("alias", address=name, goto=name, domain=domain)

    def setUp(self) -> None:
        for domain, active in (("example.org", "1"), ("closed.example", "0"), ("alias.example", "1")):
            self.insert(
                "domain", domain=domain, description="", transport="virtual", active=active, password_expiry=365
            )
        self.insert("alias_domain", alias_domain="alias.example", target_domain="example.org")

    async def test_a_user_and_the_quota_in_octets(self) -> None:
        self.add("alice@example.org", quota=1024000)
        self.add("bob@example.org", quota=0)
        self.add("carol@example.org", quota=-1)
        checker = await self.checker()
        alice, bob, carol = [await self.user(checker, f"{name}@example.org") for name in ("alice", "bob", "carol")]
        assert alice.mail == "maildir:/var/vmail/example.org/alice/"
        assert (alice.quota, bob.quota, carol.quota) == (Quota(1024000), None, None)
        assert "wrong password" in await self.refusal(checker, "alice@example.org", "wrong")
        assert await checker.names("", 9) == ["alice@example.org", "bob@example.org", "carol@example.org"]

    async def test_each_kind_of_secret(self) -> None:
        secrets = [MD5_CRYPT, SHA512_CRYPT, BCRYPT, "{SHA512-CRYPT}" + SHA512_CRYPT, "{BLF-CRYPT}" + BCRYPT]
        secrets += ["{SSHA}" + SSHA, "{SHA256-CRYPT}" + SHA256_CRYPT]
        for number, secret in enumerate(secrets):
            self.add(f"u{number}@example.org", secret)
        checker = await self.checker()
        for number in range(len(secrets)):
            await self.user(checker, f"u{number}@example.org")

    async def test_who_is_not_active_is_refused_and_the_log_says_why(self) -> None:
        self.add("alice@example.org", active="0")
        self.add("alice@closed.example")
        checker = await self.checker()
        assert "the mailbox is not active" in await self.refusal(checker, "alice@example.org")
        assert "the domain is not active" in await self.refusal(checker, "alice@closed.example")

    async def test_an_alias_is_no_user(self) -> None:
        self.add("alice@example.org")
        self.insert("alias", address="info@example.org", goto="alice@example.org", domain="example.org")
        checker = await self.checker()
        await self.unknown(
            checker, "info@example.org", "alice@alias.example", "ALICE@example.org", "alice", "jörg@example.org"
        )

    async def test_who_uses_totp_needs_an_app_password(self) -> None:
        self.add("alice@example.org", totp_secret="GEZDGNBVGY3TQOJQ")
        self.insert(
            "mailbox_app_password", username="alice@example.org", description="phone", password_hash=SHA512_CRYPT_OF_X
        )
        checker = await self.checker()
        await self.refusal(checker, "alice@example.org")
        assert (await self.user(checker, "alice@example.org", "x")).secret == "phone"

    async def test_passwords_expire_where_the_comment_is_taken_away(self) -> None:
        self.add("alice@example.org", password_expiry="2001-01-01")
        self.add("bob@example.org", password_expiry="2037-01-01")
        await self.user(await self.checker(), "alice@example.org")
        checker = await self.checker(("-- WHEN", "WHEN"))
        assert "the password has expired" in await self.refusal(checker, "alice@example.org")
        await self.user(checker, "bob@example.org")


class PostfixAdminOnMariaDBTests(PostfixAdmin, OnMariaDB, TestCase):
    pass


class PostfixAdminOnPostgreSQLTests(PostfixAdmin, OnPostgreSQL, TestCase):
    pass


class PostfixAdminOnSQLiteTests(PostfixAdmin, OnSQLite, TestCase):
    replaced = (("CONCAT('maildir:/var/vmail/', m.maildir)", "'maildir:/var/vmail/' || m.maildir"),)


class IRedMail(Site):
    program = "iredmail"

    def add(self, name: str, secret: str = SSHA512, **columns: Any) -> None:
        local, _, domain = name.partition("@")
        maildir = f"{domain}/{local[0]}/{local[1]}/{local[2]}/{local}-2026.11.26.10.00.00/"
        where = {"storagebasedirectory": "/var/vmail", "storagenode": "vmail1", "maildir": maildir}
        self.insert("mailbox", username=name, password=secret, domain=domain, **where, **columns)
        self.insert("forwardings", address=name, forwarding=name, domain=domain, dest_domain=domain, is_forwarding=1)

    def setUp(self) -> None:
        for domain, columns in (
            ("example.org", {}),
            ("closed.example", {"active": 0}),
            ("backup.example", {"backupmx": 1}),
        ):
            self.insert("domain", domain=domain, **columns)

    async def test_a_user_and_the_quota_in_mib(self) -> None:
        self.add("alice@example.org", quota=1024, allow_nets="192.0.2.0/24,2001:db8::/32")
        self.add("carol@example.org", quota=0, mailboxformat="", mailboxfolder="")
        checker = await self.checker()
        alice = await self.user(checker, "alice@example.org")
        assert alice.home == "/var/vmail/vmail1/example.org/a/l/i/alice-2026.11.26.10.00.00/"
        assert alice.mail == "maildir:~/Maildir"
        assert alice.quota == Quota(1024 * 1024 * 1024)
        assert alice.networks == (ip_network("192.0.2.0/24"), ip_network("2001:db8::/32"))
        carol = await self.user(checker, "carol@example.org")
        assert (carol.mail, carol.quota, carol.networks, carol.listeners) == (
            "maildir:~/Maildir",
            None,
            (),
            frozenset(),
        )
        assert await checker.names("", 9) == ["alice@example.org", "carol@example.org"]

    async def test_each_kind_of_secret(self) -> None:
        secrets = [
            SSHA512,
            "{SSHA}" + SSHA,
            "{BLF-CRYPT}" + BCRYPT,
            "{CRYPT}" + BCRYPT,
            MD5_CRYPT,
            "{SHA512-CRYPT}" + SHA512_CRYPT,
        ]
        for number, secret in enumerate(secrets):
            self.add(f"u0{number}@example.org", secret)
        checker = await self.checker()
        for number in range(len(secrets)):
            await self.user(checker, f"u0{number}@example.org")

    async def test_who_is_not_active_is_refused_and_the_log_says_why(self) -> None:
        self.add("alice@example.org", active=0)
        self.add("alice@closed.example")
        self.add("alice@backup.example")
        for flag in ("enablepop3secured", "enablepop3tls"):
            self.add(f"{flag}@example.org", **{flag: 0})
        checker = await self.checker()
        assert "the mailbox is not active" in await self.refusal(checker, "alice@example.org")
        assert "the domain is not active" in await self.refusal(checker, "alice@closed.example")
        assert "the domain is of a backup MX" in await self.refusal(checker, "alice@backup.example")
        for flag in ("enablepop3secured", "enablepop3tls"):
            assert "POP3 is switched off" in await self.refusal(checker, f"{flag}@example.org")

    async def test_without_plain_pop3_a_login_needs_tls(self) -> None:
        self.add("alice@example.org", enablepop3=0)
        assert (await self.user(await self.checker(), "alice@example.org")).listeners == {"tls"}

    async def test_another_format_of_mail_is_not_served(self) -> None:
        self.add("alice@example.org", mailboxformat="mdbox")
        assert "mdbox" in (await self.user(await self.checker(), "alice@example.org")).unserved

    async def test_an_alias_is_no_user(self) -> None:
        self.add("alice@example.org")
        self.insert("alias", address="info@example.org", domain="example.org")
        self.insert(
            "forwardings", address="al@example.org", forwarding="alice@example.org", domain="example.org", is_alias=1
        )
        self.insert("alias_domain", alias_domain="alias.example", target_domain="example.org")
        checker = await self.checker()
        await self.unknown(
            checker,
            "info@example.org",
            "al@example.org",
            "alice@alias.example",
            "Alice@example.org",
            "jörg@example.org",
        )


class IRedMailOnMariaDBTests(IRedMail, OnMariaDB, TestCase):
    pass


class IRedMailOnPostgreSQLTests(IRedMail, OnPostgreSQL, TestCase):
    pass


class MailcowTests(OnMariaDB, TestCase):
    program = "mailcow"

    def add(self, name: str, secret: str = "{BLF-CRYPT}" + BCRYPT, **columns: Any) -> None:
        local, _, domain = name.partition("@")
        attributes = json.dumps(
            {"mailbox_format": "maildir:", "imap_access": "1", "pop3_access": columns.pop("pop3", "1")}
        )
        basics = {"username": name, "password": secret, "local_part": local, "domain": domain, "attributes": attributes}
        self.insert("mailbox", **basics, **columns)
        self.insert("alias", address=name, goto=name, domain=domain)

    def app(self, name: str, label: str, secret: str = "{BLF-CRYPT}" + BCRYPT_OF_X, **columns: Any) -> None:
        self.insert("app_passwd", name=label, mailbox=name, domain=name.partition("@")[2], password=secret, **columns)

    def setUp(self) -> None:
        self.insert("domain", domain="example.org")
        self.insert("domain", domain="closed.example", active=0)
        self.insert("alias_domain", alias_domain="alias.example", target_domain="example.org")

    async def test_a_user_and_the_quota_in_octets(self) -> None:
        self.add("alice@example.org", quota=3221225472)
        self.add("bob@example.org", quota=0)
        checker = await self.checker()
        alice, bob = [await self.user(checker, f"{name}@example.org") for name in ("alice", "bob")]
        assert alice.mail == "maildir:/var/vmail/example.org/alice/Maildir"
        assert (alice.quota, bob.quota) == (Quota(3221225472), None)
        assert await checker.names("", 9) == ["alice@example.org", "bob@example.org"]

    async def test_each_kind_of_secret(self) -> None:
        secrets = ["{BLF-CRYPT}" + BCRYPT, salted("SSHA256", sha256), salted("SSHA512", sha512), "{SHA256}" + SHA256]
        for number, secret in enumerate(secrets):
            self.add(f"u{number}@example.org", secret)
        checker = await self.checker()
        for number in range(len(secrets)):
            await self.user(checker, f"u{number}@example.org")

    async def test_an_app_password_is_for_the_protocols_that_it_is_for(self) -> None:
        self.add("alice@example.org")
        self.app("alice@example.org", "phone")
        self.app("alice@example.org", "printer", "{PLAIN}printer", pop3_access=0)
        self.app("alice@example.org", "lost", "{PLAIN}lost", active=0)
        self.add("bob@example.org")
        checker = await self.checker()
        assert (await self.user(checker, "alice@example.org")).secret == ""
        assert (await self.user(checker, "alice@example.org", "x")).secret == "phone"
        for wrong in ("printer", "lost"):
            assert "wrong password" in await self.refusal(checker, "alice@example.org", wrong)
        assert "wrong password" in await self.refusal(checker, "bob@example.org", "x")

    async def test_who_has_a_password_elsewhere_or_no_pop3_needs_an_app_password(self) -> None:
        self.add("alice@example.org", authsource="ldap")
        self.add("bob@example.org", pop3="0")
        checker = await self.checker()
        for name in ("alice@example.org", "bob@example.org"):
            await self.refusal(checker, name)
            self.app(name, "phone")
            await self.refusal(checker, name)
            assert (await self.user(checker, name, "x")).secret == "phone"

    async def test_who_is_not_active_is_refused_and_the_log_says_why(self) -> None:
        for active in (0, 2):
            self.add(f"u{active}@example.org", active=active)
            self.app(f"u{active}@example.org", "phone")
        self.add("alice@closed.example")
        checker = await self.checker()
        for active in (0, 2):
            for password in ("tanstaaf", "x"):
                assert "the mailbox is not active" in await self.refusal(checker, f"u{active}@example.org", password)
        assert "the domain is not active" in await self.refusal(checker, "alice@closed.example")
        assert await checker.names("", 9) == ["alice@closed.example", "u2@example.org"]

    async def test_an_alias_or_a_resource_is_no_user(self) -> None:
        self.add("alice@example.org")
        self.insert("alias", address="info@example.org", goto="alice@example.org", domain="example.org")
        self.add("room@example.org", kind="location")
        checker = await self.checker()
        await self.unknown(
            checker,
            "info@example.org",
            "room@example.org",
            "alice@alias.example",
            "Alice@example.org",
            "jörg@example.org",
        )


class MailInABoxTests(OnSQLite, TestCase):
    program = "mailinabox"

    def add(self, name: str, secret: str = "{SHA512-CRYPT}" + SHA512_CRYPT, **columns: Any) -> None:
        self.insert("users", email=name, password=secret, **columns)

    async def test_a_user_and_the_quota_in_its_notations(self) -> None:
        quotas = {"0": None, "500M": Quota(500 * 1024**2), "5G": Quota(5 * 1024**3), "1000000": Quota(1000000)}
        for quota in quotas:
            self.add(f"u{quota}@box.example".lower(), quota=quota)
        checker = await self.checker()
        users = [await self.user(checker, f"u{quota}@box.example".lower()) for quota in quotas]
        assert [user.quota for user in users] == list(quotas.values())
        assert users[0].mail == "maildir:/home/user-data/mail/mailboxes/box.example/u0"
        assert "wrong password" in await self.refusal(checker, "u0@box.example", "wrong")
        assert len(await checker.names("", 9)) == len(quotas)

    async def test_an_alias_is_no_user(self) -> None:
        self.add("alice@box.example", privileges="admin")
        self.insert("aliases", source="info@box.example", destination="alice@box.example")
        self.insert("auto_aliases", source="abuse@box.example", destination="alice@box.example")
        await self.unknown(
            await self.checker(),
            "info@box.example",
            "abuse@box.example",
            "Alice@box.example",
            "alice",
            "jörg@box.example",
        )
