"""Dovecot's statements: what they become, and that the users of a real Dovecot log in with the result, in each database."""

import sqlite3
import tomllib
from contextlib import closing

import pytest
from twisted.internet import reactor

from mailserver.auth.sql.checker import SqlUsers
from mailserver.credentials import Password
from mailserver.errors import LoginRefused
from mailserver.interfaces import Quota
from mailserver.migration.users.converted import Unconvertible
from mailserver.migration.users.dovecot_sql import read_sql
from tests.auth.sql.cases import InMariaDB, InPostgreSQL, SqlCase
from tests.cli.running import run
from tests.databases import PASSWORD, USER
from tests.migration.users.dovecots import Dovecot

JOIN = {
    "mysql": "CONCAT(userid, '@', domain)",
    "pgsql": "userid || '@' || domain",
    "sqlite": "userid || '@' || domain",
}

RULE = {
    "mysql": "CONCAT('*:storage=', megabytes, 'M')",
    "pgsql": "'*:storage=' || megabytes || 'M'",
    "sqlite": "'*:storage=' || megabytes || 'M'",
}

TABLE = "CREATE TABLE accounts (userid varchar(60), domain varchar(60), pw varchar(200), megabytes integer, active char(1), held varchar(9))"

FILE = """\
# Dovecot 2.3's dovecot-sql.conf.ext
driver = {driver}
connect = {connect}
default_pass_scheme = PLAIN
password_query = SELECT {join} AS user, pw AS password, held AS nologin \\
  FROM accounts WHERE userid = '%Ln' AND domain = '%Ld' AND active = 'Y'
user_query = SELECT '/srv/%d/%n' AS home, 8 AS uid, 8 AS gid, {rule} AS quota_rule \\
  FROM accounts WHERE userid = '%n' AND domain = '%d'
iterate_query = SELECT userid AS username, domain FROM accounts
"""


def file_for(driver, connect):
    return FILE.format(driver=driver, connect=connect, join=JOIN[driver], rule=RULE[driver])


ROWS = [
    {"userid": "alice", "domain": "example.org", "pw": "wonder'land", "megabytes": 3, "active": "Y"},
    {"userid": "bob", "domain": "example.org", "pw": "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "active": "Y"},
    {"userid": "carol", "domain": "example.org", "pw": "secret", "active": "N"},
    {"userid": "dave", "domain": "example.org", "pw": "secret", "active": "Y", "held": "Y"},
]
ROWS = [{"megabytes": None, "held": None, **each} for each in ROWS]


class Contract:
    """A checker with the made file knows the users as Dovecot does."""

    driver = ""

    def connect(self):
        raise NotImplementedError

    async def checker(self, text):
        converted = read_sql(text, "dovecot-sql.conf.ext")
        self.told = [each.text for each in converted.remarks]
        path = self.site.folder / "made.toml"
        path.touch(mode=0o600)
        path.write_text(self.adapted(converted.text))
        made = SqlUsers(str(path))
        await made.start(reactor)
        self.addCleanup(made.stop)
        return made

    def adapted(self, text):
        return text

    async def admits(self, made, name, password):
        try:
            await made.requestAvatarId(Password(name.encode(), password.encode()))
        except LoginRefused:
            return False
        return True

    def filled(self):
        self.site.run("DROP TABLE IF EXISTS accounts", TABLE)
        if self.driver == "pgsql":
            self.site.run(f"GRANT SELECT ON accounts TO {USER}")
        self.site.insert("accounts", ROWS)

    async def test_users_passwords_homes_and_quotas_are_as_there(self):
        self.filled()
        made = await self.checker(file_for(self.driver, self.connect()))
        assert self.told == ["nologin: who has it is refused here, too, as disabled"]
        assert await self.admits(made, "alice@example.org", "wonder'land")
        assert not await self.admits(made, "alice@example.org", "wonder")
        assert await self.admits(made, "bob@example.org", "password")
        for name in ("carol", "dave", "eve"):
            assert not await self.admits(made, f"{name}@example.org", "secret")
        alice = await made.lookup("alice@example.org")
        bob = await made.lookup("bob@example.org")
        assert (alice.home, alice.quota) == ("/srv/example.org/alice", Quota(3 * 1024 * 1024, 0))
        assert (bob.home, bob.quota) == ("/srv/example.org/bob", None)
        assert (await made.lookup("dave@example.org")).denied == "disabled: 'nologin'"
        assert await made.names("", 10) == [f"{name}@example.org" for name in ("alice", "bob", "carol", "dave")]

    async def test_one_table_is_asked_once(self):
        self.filled()
        text = file_for(self.driver, self.connect()).replace(" AND active = 'Y'", "").replace("%L", "%")
        made = await self.checker(text)
        assert self.site.folder.joinpath("made.toml").read_text().count("FROM accounts") == 2  # with that of iterate
        assert await self.admits(made, "alice@example.org", "wonder'land")
        assert (await made.lookup("alice@example.org")).home == "/srv/example.org/alice"


class TestSQLite(Contract, SqlCase):
    driver = "sqlite"

    def connect(self):
        return str(self.site.file)


class TestPostgreSQL(Contract, InPostgreSQL):
    driver = "pgsql"

    def connect(self):
        database = self.site.database
        secret = PASSWORD.replace("\\", "\\\\").replace("'", "\\'")
        return (
            f"\"host=127.0.0.1 port={database.port} dbname={self.site.name} user={USER} password='{secret}'\"".replace(
                "\\", "\\\\"
            )
        )


class TestMariaDB(Contract, InMariaDB):
    driver = "mysql"

    def connect(self):
        database = self.site.database
        secret = PASSWORD.replace("\\", "\\\\").replace("'", "\\'")
        return f"\"host={database.socket} dbname={self.site.name} user={USER} password='{secret}'\"".replace(
            "\\", "\\\\"
        )


@pytest.fixture(scope="module")
def dovecot():
    server = Dovecot()
    yield server
    server.close()


def test_a_real_dovecot_with_the_same_file_says_the_same(dovecot):
    """What the contract expects of ours is what Dovecot does."""
    database = dovecot.folder / "users.sqlite"
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(TABLE)
        marks = ", ".join(f":{name}" for name in ROWS[0])
        connection.executemany(f"INSERT INTO accounts ({', '.join(ROWS[0])}) VALUES ({marks})", ROWS)
    database.chmod(0o644)
    block = "{\n  driver = sql\n  args = {folder}/sql.conf\n}\n"
    dovecot.serve(f"passdb {block}userdb {block}", **{"sql.conf": file_for("sqlite", str(database))})
    tried = ("alice", "wonder'land"), ("alice", "wonder"), ("bob", "password"), ("carol", "secret"), ("dave", "secret")
    admitted = dovecot.admits(*((f"{name}@example.org", password) for name, password in tried))
    assert admitted == [True, False, True, False, False]
    assert dovecot.home("alice@example.org") == "/srv/example.org/alice"
    assert dovecot.names() == {f"{name}@example.org" for name in ("alice", "bob", "carol", "dave")}


def made(text):
    converted = read_sql(text, "x")
    return tomllib.loads(converted.text), [each.text for each in converted.remarks]


def query(password, **more):
    lines = "".join(f"{name} = {text}\n" for name, text in more.items())
    return f"driver = sqlite\nconnect = /users\npassword_query = {password}\n{lines}"


def test_version_2_4_has_its_statements_among_its_settings():
    settings, told = made("""\
sql_driver = mysql
mysql sql.example.org {
  user = dovecot
  password = "wonder#land"
  dbname = mail
  ssl_ca = /etc/ca.pem
}
passdb sql {
  default_password_scheme = SHA512-CRYPT
  query = SELECT username AS user, password FROM users WHERE username = '%{user | lower}'
}
userdb sql {
  query = SELECT home, quota_bytes AS quota_storage_size FROM users WHERE username = '%{user | lower}'
  iterate_query = SELECT username AS user FROM users
}
""")
    assert told == []
    assert settings == {
        "kind": "mysql",
        "host": "sql.example.org",
        "database": "mail",
        "user": "dovecot",
        "password": "wonder#land",
        "tls_ca": "/etc/ca.pem",
        "password_scheme": "SHA512-CRYPT",
        "queries": {
            "user": (
                "SELECT\n    username AS `user`,\n    password AS `password`,\n    home AS `home`,\n    quota_bytes AS `quota`\n"
                "FROM users WHERE username = {user}\n"
            ),
            "iterate": "SELECT\n    username AS `user`\nFROM users\n",
        },
    }


@pytest.mark.parametrize(
    "place", ["pgsql {0} {{\n  parameters {{\n{1}  }}\n}}\n", "pgsql_host = {0}\npgsql_parameters {{\n{1}}}\n"]
)
def test_version_2_4_has_the_parameters_of_postgresql_s_own_library_in_a_block(place):
    statement = "passdb sql {\n  query = SELECT password FROM u WHERE n = '%{user}'\n}\n"
    given = (
        "dbname = mail\nuser = dovecot\npassword = wonderland\nport = 5433\nsslrootcert = /etc/ca.pem\nkeepalives = 1\n"
    )
    settings, told = made(f"sql_driver = pgsql\n{place.format('sql.example.org', given)}{statement}")
    assert told == ["keepalives has no place here"]
    assert {name: value for name, value in settings.items() if name not in ("password_scheme", "queries")} == {
        "kind": "postgresql",
        "host": "sql.example.org",
        "port": 5433,
        "database": "mail",
        "user": "dovecot",
        "password": "wonderland",
        "tls_ca": "/etc/ca.pem",
    }
    _, told = made(
        f"sql_driver = pgsql\n{place.format('a', 'password = # hidden, use -P to show it' + chr(10))}{statement}"
    )
    assert "as root" in told[0]


def test_two_tables_are_asked_as_one_and_who_is_in_one_alone_is_unknown():
    settings, told = made(
        query("SELECT pw AS password FROM u WHERE a = '%u'", user_query="SELECT home FROM v WHERE b = '%u'")
    )
    assert told == []
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript("CREATE TABLE u (a, pw); CREATE TABLE v (b, home)")
        connection.executescript(
            "INSERT INTO u VALUES ('alice', 'x'), ('bob', 'y'); INSERT INTO v VALUES ('alice', '/h'), ('carol', '/c')"
        )
        text = settings["queries"]["user"].replace("{user}", ":user")
        rows = {name: connection.execute(text, {"user": name}).fetchall() for name in ("alice", "bob", "carol")}
    assert rows == {"alice": [("alice", "x", "/h")], "bob": [], "carol": []}


def rows(settings, script, *names):
    """What SQLite answers for each of these users."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(script)
        text = settings["queries"]["user"].replace("{user}", ":user")
        return {name: connection.execute(text, {"user": name}).fetchall() for name in names}


def test_who_is_unknown_to_the_user_query_is_unknown_though_it_gives_nothing_else():
    settings, told = made(
        query(
            "SELECT pw AS password FROM u WHERE a = '%u'",
            user_query="SELECT 8 AS uid FROM u WHERE a = '%u' AND on_ = 1",
        )
    )
    assert told == []
    script = "CREATE TABLE u (a, pw, on_); INSERT INTO u VALUES ('alice', 'x', 1), ('bob', 'y', 0)"
    assert rows(settings, script, "alice", "bob") == {"alice": [("alice", "x")], "bob": []}


def test_whoever_one_of_two_columns_keeps_out_is_kept_out():
    settings, _ = made(query("SELECT pw AS password, nologin, host, fail FROM u WHERE a = '%u'"))
    script = "CREATE TABLE u (a, pw, nologin, host, fail); INSERT INTO u VALUES ('alice', 'x', NULL, NULL, NULL)"
    script += "".join(f", ('{name}', 'x', {held})" for name, held in [("b", "1, NULL, NULL"), ("c", "NULL, 'h', NULL")])
    script += ", ('d', 'x', NULL, NULL, 'y')"
    found = {name: row[-1] for name, (row,) in rows(settings, script, "alice", "b", "c", "d").items()}
    assert found == {"alice": None, "b": "nologin", "c": "host", "d": "fail"}


@pytest.mark.parametrize("column", ["allow_real_nets", "delay_until", "check_client_cert_fp", "password_noscheme"])
def test_what_decides_in_a_passdb_stays_for_the_checker_to_refuse(column):
    settings, told = made(query(f"SELECT password, {column} FROM u WHERE a = '%u'"))
    assert f'AS "{column}"' in settings["queries"]["user"]
    assert "may restrict users" in told[0]


def test_homes_that_are_said_elsewhere_are_not_looked_for_in_the_default_table():
    settings, told = made(query("SELECT pw AS password FROM u WHERE a = '%u'"))
    assert told == []
    assert settings["queries"] == {"user": 'SELECT\n    a AS "user",\n    pw AS "password"\nFROM u WHERE a = {user}\n'}


def test_version_2_4_takes_secrets_without_a_scheme_for_crypt():
    text = "sql_driver = sqlite\nsqlite_path = /users\npassdb sql {\n  query = SELECT password FROM u WHERE a = '%{user}'\n}\n"
    settings, told = made(text)
    assert told == []
    assert (settings["password_scheme"], settings["database"]) == ("CRYPT", "/users")


def test_without_a_word_version_2_3_asks_what_it_asks_by_default():
    settings, told = made("driver = pgsql\nconnect = host=/run/postgresql dbname=mail user=x maxconns=8\n")
    assert told == []
    assert settings["password_scheme"] == "MD5"
    assert (settings["socket"], settings["connections"]) == ("/run/postgresql", 8)
    assert settings["queries"]["user"] == (
        'SELECT\n    (username || \'@\' || domain) AS "user",\n    password AS "password",\n    home AS "home"\n'
        "FROM users WHERE username = {local} AND domain = {domain}\n"
    )


def test_a_database_s_localhost_is_where_its_library_finds_it():
    settings, _ = made("driver = mysql\nconnect = host=localhost dbname=mail\n")
    assert settings["socket"] == "/run/mysqld/mysqld.sock"


def test_a_path_of_blanks_is_none():
    settings, _ = made('driver = sqlite\nconnect = " "\n')
    assert settings["database"] == ""


def test_a_file_with_a_password_shows_none():
    text = "driver = pgsql\nconnect = \"host=a dbname=mail password='wonder land'\"\n"
    converted = read_sql(text, "x")
    assert tomllib.loads(converted.text)["password"] == "wonder land"
    assert 'password = "..."\n' in converted.shown
    assert "wonder" not in converted.shown + repr(converted) + repr(converted.remarks)


@pytest.mark.parametrize(
    ("columns", "becomes"),
    [
        ("CONCAT('*:bytes=', q) AS quota_rule", "q"),
        ("CONCAT('*:storage=', u.q) AS userdb_quota_rule", "u.q * 1024"),
        ("concat('*:storage=', q + 1, 'G') AS quota_rule", "(q + 1) * 1073741824"),
        ("'*:bytes=' || q AS quota_rule", "q"),
        ("'*:storage=' || q || 'MB' AS quota_rule", "q * 1048576"),
        ("CONCAT('*:storage=', q, 'B') AS quota_rule", "q"),
        ("CONCAT('*:bytes=', q, 'k') AS quota_rule", "q * 1024"),
        ("q AS quota_storage_size", "q"),
    ],
)
def test_quotas_become_octets(columns, becomes):
    settings, told = made(
        query("SELECT password FROM u WHERE a = '%u'", user_query=f"SELECT {columns} FROM u WHERE a = '%u'")
    )
    assert told == []
    assert f'    {becomes} AS "quota"\n' in settings["queries"]["user"]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ("quota_rule", "quota_rule is not understood"),
        ("CONCAT('Trash:storage=', q) AS quota_rule", "quota_rule is not understood"),
        ("CONCAT('*:storage=', q, 'X') AS quota_rule", "quota_rule is not understood"),
        ("CONCAT('*:storage=', q, '0G') AS quota_rule", "quota_rule is not understood"),
        ("CONCAT('*:messages=', q, 'M') AS quota_rule", "quota_rule is not understood"),
        ("q AS quota_rule2", "single folders"),
        ("x AS mail_crypt_key", "may restrict users"),
    ],
)
def test_a_column_without_a_place_here_is_told(columns, said):
    _, told = made(query("SELECT password FROM u WHERE a = '%u'", user_query=f"SELECT {columns} FROM u WHERE a = '%u'"))
    assert len(told) == 1
    assert said in told[0]


def test_what_may_restrict_a_user_is_never_dropped():
    settings, told = made(
        query(
            "SELECT password, p AS proxy, '1.2.3.0/24' AS allow_nets, 'Y' AS nopassword, x AS k_o FROM u WHERE a = '%u'"
        )
    )
    text = settings["queries"]["user"]
    assert "CASE WHEN (p) IS NULL THEN NULL ELSE 'proxy' END AS \"disabled\"" in text
    assert 'AS "allow_nets"' in text
    assert 'AS "nopassword"' in text  # which the checker refuses at its start
    assert [each.split()[0:3] for each in told] == [
        ["proxy:", "who", "has"],
        ["the", "column", "nopassword"],
        ["the", "column", "k_o"],
    ]


@pytest.mark.parametrize(
    ("password_query", "said"),
    [
        ("SELECT * FROM u WHERE a = '%u'", "has no name"),
        ("CALL login('%u')", "does not begin with SELECT"),
        ("SELECT a FROM u UNION SELECT b FROM v", "UNION"),
        ("SELECT password FROM u WHERE a = '%u' AND ip = '%r'", "the variable %r"),
        ("SELECT user FROM u WHERE a = '%u'", "no column password"),
        ("SELECT password FROM u WHERE a = '%n'", "names.local_domains"),
    ],
)
def test_a_statement_that_is_not_understood_is_told(password_query, said):
    _, told = made(query(password_query, user_query="SELECT 1 AS uid"))
    assert said in told[0]


def test_commas_quotes_and_brackets_do_not_split_a_column():
    text = "SELECT IF(a IN (1, 2), CONCAT('x, FROM ', \"b, c\"), (SELECT d FROM e)) AS password, `user` FROM u WHERE a='%u' AND s = '%s'"
    settings, told = made(
        f"driver = mysql\nconnect = host=/s dbname=m\npassword_query = {text}\nuser_query = SELECT 1 AS uid\n"
    )
    assert told == []
    assert settings["queries"]["user"] == (
        "SELECT\n    `user` AS `user`,\n    IF(a IN (1, 2), CONCAT('x, FROM ', \"b, c\"), (SELECT d FROM e)) AS `password`\n"
        "FROM u WHERE a={user} AND s = 'pop3'\n"
    )


def test_mariadb_learns_the_name_from_what_is_compared():
    base = "driver = mysql\nconnect = host=/s dbname=m\nuser_query = SELECT 1 AS uid\npassword_query = SELECT password FROM u WHERE "
    assert "    u.name AS `user`" in made(base + "u.name = '%u'")[0]["queries"]["user"]
    assert "    CONCAT(l, '@', d) AS `user`" in made(base + "l = '%n' and d = '%d'")[0]["queries"]["user"]
    assert "must say the user's name" in made(base + "LOWER(l) LIKE '%u'")[1][0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("driver = oracle\nconnect = x\n", "oracle is none of"),
        ("protocols = pop3\n", "no driver"),
        ("sql_driver = sqlite\n", "no query for passwords"),
        ("driver = mysql\nconnect = nonsense\n", "has no host"),
    ],
)
def test_what_is_no_such_file_is_refused(text, said):
    with pytest.raises(Unconvertible, match=said):
        read_sql(text, "x")


def test_what_doveconf_hides_is_asked_for():
    hidden = "sql_driver = mysql\nmysql a {\n  password = # hidden, use -P to show it\n}\npassdb sql {\n  query = SELECT password FROM u WHERE n = '%{user}'\n}\n"
    _, told = made(hidden)
    assert "doveconf -nP" in told[0]


def test_the_command_shows_no_password_and_tells_what_the_checker_would(tmp_path):
    path = tmp_path / "sql.conf"
    path.write_text(
        "driver = pgsql\nconnect = host=db.example.org dbname=m user=u password=wonderland\npassword_query = SELECT pw, x AS odd FROM u\nuser_query = SELECT 1 AS uid\n"
    )
    told = run("migrate", "users", "dovecot-sql", str(path))
    assert told.returncode == 1
    assert b"wonderland" not in told.stdout + told.stderr
    assert b"no column password" in told.stderr
    assert b"mailserver: the new file: line 12: queries.user has no {user}" in told.stderr
    assert b"/proc/" not in told.stderr
