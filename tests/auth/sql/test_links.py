"""Links alone, against servers that lie or fall silent."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

from mailserver.auth.sql.links import Late, Trouble, Unreachable
from mailserver.auth.sql.mysql import MySQLLink, _Connection
from mailserver.auth.sql.postgresql import PostgreSQLLink
from mailserver.auth.sql.settings import SqlSettings
from mailserver.auth.sql.statements import Statement

STATEMENT = Statement("SELECT name FROM users WHERE name = $1", ("user",))
GREETING = b"R\x00\x00\x00\x08\x00\x00\x00\x00Z\x00\x00\x00\x05I"
"""PostgreSQL's: nobody needs a password, and it waits for a question."""

ONE_COLUMN = b"1\x00\x00\x00\x042\x00\x00\x00\x04T\x00\x00\x00\x1a\x00\x01n\x00" + b"\x00" * 9 + b"\x19" + b"\x00" * 8
ROW = b"D\x00\x00\x00\x0b\x00\x01\x00\x00\x00\x01x"
PARAMETER = b"S\x00\x00\x00\x08a\x00b\x00"
"""A notice of a setting, which is part of no answer."""

WITHOUT_TLS = (
    b"\x59\x00\x00\x00\x0a5.5.5-10.11.6-MariaDB\x00\x01\x00\x00\x00saltsalt\x00\xfe\xf7\x2d\x02\x00\xff\x81\x15"
    + b"\x00" * 10
    + b"saltsaltsalt\x00mysql_native_password\x00"
)
"""A MariaDB's greeting, or what somebody on the way has made of it: all that it can but TLS (0x0800)."""

BLOCKS = 5000
"""Blocks of a flood: an end, so that a link without a limit fails the test, and does not hang it."""


@contextmanager
def flooding(first: bytes, block: bytes) -> Iterator[tuple[SqlSettings, list[int]]]:
    """A PostgreSQL that answers a question with `first`, and then with `block` again and again; and how many it has sent."""
    sent: list[int] = []

    def serve() -> None:
        with closing(listening.accept()[0]) as talk:
            talk.recv(4096)
            talk.sendall(GREETING)
            talk.recv(4096)
            try:
                talk.sendall(first)
                for number in range(BLOCKS):
                    talk.sendall(block)
                    sent.append(number)
            except OSError:
                return  # the link has had enough

    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = threading.Thread(target=serve, daemon=True)
        server.start()
        yield settings("postgresql", listening.getsockname()[1], query_seconds=0.3), sent
        server.join()


def settings(kind: Any, port: int, host: str = "127.0.0.1", **values: Any) -> SqlSettings:
    return SqlSettings(kind=kind, host=host, port=port, user="x", password="sesame", database="x", **values)


def test_rows_without_an_end_are_not_kept() -> None:
    with flooding(ONE_COLUMN, ROW * 2000) as (given, sent), closing(PostgreSQLLink(given)) as link:
        link.open()
        with pytest.raises(Trouble, match="more than 50 rows"):
            link.ask(STATEMENT, ["alice"], 50)
        link.close()
    assert len(sent) < BLOCKS


def test_octets_without_an_answer_do_not_stretch_the_time() -> None:
    with flooding(b"", PARAMETER * 5000) as (given, sent), closing(PostgreSQLLink(given)) as link:
        link.open()
        with pytest.raises(Late):
            link.ask(STATEMENT, ["alice"], 50)
        link.close()
    assert len(sent) < BLOCKS


def test_a_link_that_is_broken_off_before_it_is_connected_waits_for_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        link = MySQLLink(settings("mysql", silent.getsockname()[1], query_seconds=0.2))
        link.abort()
        with closing(link), pytest.raises(Unreachable) as caught:
            link.open()
    assert "timed out" not in str(caught.value)


def test_a_mysql_without_tls_hears_nothing_where_tls_is_wanted() -> None:
    heard: list[bytes] = []

    def serve() -> None:
        with closing(listening.accept()[0]) as talk:
            talk.sendall(WITHOUT_TLS)
            heard.extend(iter(lambda: talk.recv(4096), b""))

    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = threading.Thread(target=serve, daemon=True)
        server.start()
        given = settings("mysql", listening.getsockname()[1], tls="verify", query_seconds=0.5)
        with closing(MySQLLink(given)) as link, pytest.raises(Unreachable) as caught:
            link.open()
        server.join()
    assert caught.value.wrong
    assert heard == []


def test_octets_for_mysql_are_hexadecimal_digits() -> None:
    assert _Connection(defer_connect=True).escape(b"'\\") == "X'275c'"


def test_who_asks_for_the_password_itself_in_the_open_does_not_get_it() -> None:
    heard: list[bytes] = []

    def serve() -> None:
        with closing(listening.accept()[0]) as talk:
            talk.recv(4096)
            talk.sendall(b"R\x00\x00\x00\x08\x00\x00\x00\x03")
            heard.extend(iter(lambda: talk.recv(4096), b""))

    with socket.create_server(("127.0.0.2", 0)) as listening:  # which counts as another machine
        server = threading.Thread(target=serve, daemon=True)
        server.start()
        given = settings("postgresql", listening.getsockname()[1], "127.0.0.2", tls="off", connect_seconds=0.5)
        with closing(PostgreSQLLink(given)) as link, pytest.raises(Unreachable):
            link.open()
        server.join()
    assert b"sesame" not in b"".join(heard)
