"""The databases that the tests start are real, can be frozen and killed, and come back."""

from __future__ import annotations

import pytest

from tests.databases import PASSWORD, USER, Database


@pytest.fixture(params=["postgresql", "mariadb"])
def database(request: pytest.FixtureRequest) -> Database:
    found: Database = request.getfixturevalue(request.param)
    return found


def test_each_database_is_new_and_is_there_again_after_the_server_was_killed(database: Database) -> None:
    name, other = database.fresh("CREATE TABLE users (name varchar(99))"), database.fresh()
    database.execute(name, "INSERT INTO users VALUES (%s)", values=["jörg's"])
    with database.down(gently=True), pytest.raises(Exception, match=r"."):
        database.rows(name, "SELECT 1")
    assert database.rows(name, "SELECT name FROM users") == [("jörg's",)]
    with pytest.raises(Exception, match="users"):
        database.rows(other, "SELECT name FROM users")


def test_what_is_frozen_goes_on_later(database: Database) -> None:
    with database.frozen():
        pass
    assert database.rows("", "SELECT 1") == [(1,)]


def test_the_password_counts_over_tcp(postgresql: Database) -> None:
    import psycopg

    name = postgresql.fresh("CREATE TABLE users (name text)")
    given = {"host": "127.0.0.1", "port": postgresql.port, "user": USER, "dbname": name}
    with psycopg.connect(**given, password=PASSWORD) as connection:
        assert connection.execute("SELECT * FROM users").fetchall() == []
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(**given, password="wrong")
