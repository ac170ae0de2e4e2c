"""Courier's files of databases: what they become, and that their users log in with the result, in each database."""

import tomllib

import pytest
from twisted.internet import reactor

from mailserver.auth.sql.checker import SqlUsers
from mailserver.credentials import Password
from mailserver.errors import LoginRefused
from mailserver.interfaces import Quota
from mailserver.migration.users.converted import Unconvertible
from mailserver.migration.users.courier_sql import read_courier_sql
from tests.auth.sql.cases import InMariaDB, InPostgreSQL, SqlCase
from tests.databases import PASSWORD, USER

TABLE = (
    "CREATE TABLE courier (id varchar(90), crypt varchar(90), clear varchar(90), home varchar(90), maildir varchar(90),"
    " quota varchar(90), options varchar(90), server varchar(90))"
)

EMPTY = {"crypt": None, "clear": None, "home": "/h", "maildir": "", "quota": "", "options": "", "server": "here"}

ROWS = [
    EMPTY
    | {
        "id": "alice@example.org",
        "crypt": "{MD5RAW}5f4dcc3b5aa765d61d8327deb882cf99",
        "maildir": "/srv/alice",
        "quota": "9S",
    },
    EMPTY | {"id": "bob@example.org", "crypt": "", "clear": "sec'ret", "maildir": "./Mail", "quota": "9S,5C"},
    EMPTY | {"id": "carol@example.org", "crypt": "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "options": "a=1,disablepop3=1"},
    EMPTY | {"id": "dave@example.org", "clear": "secret", "server": "elsewhere"},
    EMPTY | {"id": "erin@example.org", "clear": "secret", "options": "disablepop3=y"},
    EMPTY | {"id": "frank@example.org", "clear": "secret", "options": "disablepop3=0,x=1"},
]

FIELDS = """\
##NAME: a comment
DEFAULT_DOMAIN\t\texample.org
{p}_USER_TABLE\tcourier
{p}_CRYPT_PWFIELD\tcrypt
{p}_CLEAR_PWFIELD\tclear
{p}_LOGIN_FIELD\tid
{p}_HOME_FIELD\thome
{p}_MAILDIR_FIELD\tmaildir
{p}_QUOTA_FIELD\tquota
{p}_AUXOPTIONS_FIELD\toptions
{p}_WHERE_CLAUSE\tserver='here'
"""

CLAUSE = """\
{p}_SELECT_CLAUSE\tSELECT id AS name,\t\\
\t\tcrypt, clear, 8, 8, home,\t\\
\t\tmaildir, quota, '', options\t\\
\t\tFROM courier WHERE id = {j} AND server = 'here' AND '$(service)' = 'pop3'
{p}_ENUMERATE_CLAUSE\tSELECT id, 8, 8, home FROM courier WHERE server = 'here'
"""


class Contract:
    """A checker with the made file knows the users as Courier does."""

    prefix = ""
    address = "'$(local_part)' || '@' || '$(domain)'"

    def place(self):
        raise NotImplementedError

    async def checker(self, text):
        self.site.run("DROP TABLE IF EXISTS courier", TABLE)
        if self.prefix == "PGSQL":
            self.site.run(f"GRANT SELECT ON courier TO {USER}")
        self.site.insert("courier", ROWS)
        place = "".join(f"{self.prefix}_{name}\t{value}\n" for name, value in self.place().items())
        converted = read_courier_sql(place + text.format(p=self.prefix, j=self.address), "authrc")
        self.told = [each.about for each in converted.remarks]
        path = self.site.folder / "made.toml"
        path.touch(mode=0o600)
        path.write_text(converted.text)
        made = SqlUsers(str(path))
        await made.start(reactor)
        self.addCleanup(made.stop)
        return made

    async def admitted(self, made, name, password):
        try:
            await made.requestAvatarId(Password(name.encode(), password.encode()))
        except LoginRefused:
            return False
        return True

    async def everybody(self, made):
        assert await self.admitted(made, "alice@example.org", "password")
        assert await self.admitted(made, "bob@example.org", "sec'ret")
        assert not await self.admitted(made, "bob@example.org", "")
        assert not await self.admitted(made, "alice@example.org", "secret")
        assert not await self.admitted(made, "carol@example.org", "password")
        assert not await self.admitted(made, "dave@example.org", "secret")
        assert not await self.admitted(made, "erin@example.org", "secret")
        assert await self.admitted(made, "frank@example.org", "secret")
        alice, bob, carol = [await made.lookup(f"{name}@example.org") for name in ("alice", "bob", "carol")]
        assert (alice.home, alice.mail, alice.quota) == ("/h", "maildir:/srv/alice", Quota(9, 0))
        assert (bob.mail, bob.quota) == ("maildir:~/Mail", None)
        assert (carol.mail, carol.denied) == (None, "disabled: 'disablepop3'")
        assert await made.names("", 9) == [f"{name}@example.org" for name in ("alice", "bob", "carol", "erin", "frank")]

    async def test_the_users_of_named_columns_are_known(self):
        await self.everybody(await self.checker(FIELDS))
        assert self.told == ["quota", "DEFAULT_DOMAIN"]

    async def test_the_users_of_a_statement_are_known(self):
        await self.everybody(await self.checker(CLAUSE))
        assert self.told == ["quota"]


class TestSQLite(Contract, SqlCase):
    prefix = "SQLITE"

    def place(self):
        return {"DATABASE": self.site.file}


class TestPostgreSQL(Contract, InPostgreSQL):
    prefix = "PGSQL"

    def place(self):
        database = self.site.database
        return {
            "HOST": "127.0.0.1",
            "PORT": database.port,
            "USERNAME": USER,
            "PASSWORD": PASSWORD,
            "DATABASE": self.site.name,
        }


class TestMariaDB(Contract, InMariaDB):
    prefix = "MYSQL"
    address = "CONCAT('$(local_part)', '@', '$(domain)')"

    def place(self):
        database = self.site.database
        return {
            "SERVER": "localhost",
            "SOCKET": database.socket,
            "USERNAME": USER,
            "PASSWORD": PASSWORD,
            "DATABASE": self.site.name,
        }


def made(text):
    converted = read_courier_sql(text, "x")
    assert "sesame" not in converted.shown + repr(converted)
    return tomllib.loads(converted.text), {each.about: each.text for each in converted.remarks}


def test_passwords_in_clear_alone_serve_apop_too():
    settings, told = made(
        "MYSQL_SERVER db.example.org\nMYSQL_PORT 3307\nMYSQL_DATABASE mail\nMYSQL_PASSWORD sesame\nMYSQL_CLEAR_PWFIELD clear\nMYSQL_SSL_CACERT /ca.pem\n"
    )
    assert told == {}
    assert {name: settings[name] for name in ("host", "port", "secrets", "tls_ca", "password")} == {
        "host": "db.example.org",
        "port": 3307,
        "secrets": "clear",
        "tls_ca": "/ca.pem",
        "password": "sesame",
    }
    assert "    CONCAT('{PLAIN}', clear) AS `password`,\n" in settings["queries"]["user"]
    assert settings["queries"]["user"].endswith("FROM passwd WHERE id = {user}\n")


@pytest.mark.parametrize(
    ("text", "about", "said"),
    [
        ("PGSQL_DATABASE m\n", "CRYPT_PWFIELD", "nobody can log in"),
        ("PGSQL_DATABASE m\nPGSQL_SELECT_CLAUSE SELECT a, b UNION SELECT c, d\n", "SELECT_CLAUSE", "UNION"),
        (
            "PGSQL_DATABASE m\nPGSQL_SELECT_CLAUSE SELECT a, b FROM c WHERE a = '$(local_part)'\n",
            "ENUMERATE_CLAUSE",
            "not listed",
        ),
        ("PGSQL_DATABASE m\nPGSQL_CRYPT_PWFIELD c\nPGSQL_QUOTA_FIELD q\n", "quota", "1000000S"),
    ],
)
def test_what_cannot_be_taken_over_is_told(text, about, said):
    assert said in made(text)[1][about]


def test_what_is_no_such_file_is_refused():
    with pytest.raises(Unconvertible, match="none of Courier's files"):
        read_courier_sql("LDAP_URI x\n", "x")
