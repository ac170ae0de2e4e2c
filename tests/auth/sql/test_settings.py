from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from mailserver.auth.sql.settings import SqlFileError, SqlSettings, read_settings

QUERY = "SELECT password FROM users WHERE name = {user}"


def written(path: Path, queries: dict[str, str] | None = None, mode: int = 0o600, **values: Any) -> str:
    file = path / "sql.toml"
    lines = [f"{name} = {json.dumps(value)}" for name, value in values.items()]
    lines += ["[queries]", *(f"{name} = {json.dumps(text)}" for name, text in (queries or {"user": QUERY}).items())]
    file.write_text("\n".join(lines))
    file.chmod(mode)
    return str(file)


def read(path: Path, **values: Any) -> SqlSettings:
    return read_settings(written(path, **values))


SOCKET: dict[str, Any] = {"kind": "postgresql", "socket": "/run/postgresql", "database": "mail"}


def test_a_url_is_the_same_as_its_parts(tmp_path: Path) -> None:
    url = "mariadb://mail%40x:p%2F%3A%40s@db.example.org:3307/mail"
    read_url = read(tmp_path, url=url, tls="off")
    assert (read_url.kind, read_url.host, read_url.port) == ("mysql", "db.example.org", 3307)
    assert (read_url.user, read_url.password, read_url.database) == ("mail@x", "p/:@s", "mail")
    assert "p/:@s" not in repr(read_url)
    assert read(tmp_path, url="postgres:///mail?socket=/run/postgresql").place == "postgresql 'mail' at /run/postgresql"
    assert read(tmp_path, url="sqlite:///var/lib/mail.sqlite").database == "/var/lib/mail.sqlite"


def test_tls_is_verified_but_on_this_machine(tmp_path: Path) -> None:
    remote = {"kind": "postgresql", "host": "db.example.org", "database": "mail"}
    assert read(tmp_path, **remote, tls_ca=__file__).verified
    assert not read(tmp_path, **remote, tls="off").verified
    for host in ("localhost", "127.0.0.1", "::1"):
        assert not read(tmp_path, **(remote | {"host": host})).verified
    assert read(tmp_path, **(remote | {"host": "localhost"}), tls="verify", tls_ca=__file__).verified
    assert not read(tmp_path, **SOCKET).verified
    with pytest.raises(SqlFileError, match=r"sql.toml:4: there is no file /nonexistent: tls_ca names one"):
        read(tmp_path, **remote, tls_ca="/nonexistent")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, 'kind must be one of "postgresql", "mysql" and "sqlite"'),
        ({"kind": "mariadb"}, "kind must be one of postgresql, mysql, sqlite"),
        ({"kind": "postgresql"}, "database must be given"),
        ({"kind": "postgresql", "database": "mail"}, "give either a host or a socket"),
        ({**SOCKET, "host": "localhost"}, "give either a host or a socket"),
        ({**SOCKET, "socket": "run"}, "socket must be an absolute path"),
        ({"kind": "sqlite", "database": "mail.sqlite"}, "must be the file's absolute path"),
        ({"kind": "sqlite", "database": "/mail.sqlite", "user": "x"}, "user is not for sqlite"),
        ({**SOCKET, "pasword": "x"}, 'did you mean "password"'),
        ({**SOCKET, "connections": 0}, "connections must be a whole number of at least 1"),
        ({**SOCKET, "query_seconds": 0}, "query_seconds must be a number above 0"),
        ({**SOCKET, "password_scheme": "BLF-CRIPT"}, 'did you mean "BLF-CRYPT"'),
        ({**SOCKET, "secrets": "plain"}, "secrets must be one of hashed, clear"),
        ({**SOCKET, "url": "mysql://x/y"}, "kind is given, and url, too"),
        ({"url": "oracle://x/y"}, "url must begin with one of postgresql://"),
        ({"url": "mysql://user:s/3cret:x@host/y"}, "url must be one such as"),
        ({"url": "mysql://[user:s3cret@host/y"}, "url must be one such as"),
        ({"url": "mysql://h/y?sockt=/x"}, "unknown option"),
        ({**SOCKET, "queries": {"iterate": "SELECT 1"}}, "queries.user must be given"),
        ({**SOCKET, "queries": {"user": "SELECT 1"}}, "queries.user has no {user}"),
        ({**SOCKET, "queries": {"user": QUERY, "app_passwords": "SELECT 1"}}, "queries.app_passwords has no {user}"),
        ({**SOCKET, "queries": {"user": QUERY, "iterate": QUERY}}, "is for all users, and has no parameters"),
        ({**SOCKET, "queries": {"user": "SELECT '{user}'"}}, "stands in quotes"),
        ({**SOCKET, "queries": {"user": "SELECT {usr}"}}, 'did you mean "user"'),
        ({**SOCKET, "queries": {"users": QUERY}}, 'unknown setting "queries.users"'),
    ],
)
def test_what_cannot_be_is_told_without_a_secret(tmp_path: Path, values: dict[str, Any], said: str) -> None:
    with pytest.raises(SqlFileError) as caught:
        read(tmp_path, **values)
    assert said in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "sql.toml"))
    assert "3cret" not in str(caught.value)


def test_others_may_not_read_a_file_with_a_password(tmp_path: Path) -> None:
    for values in ({**SOCKET, "password": "x"}, {"url": "mysql://user:x@localhost/mail"}):
        for mode, whom in ((0o604, "everybody"), (0o602, "everybody"), (0o660, "its group")):
            with pytest.raises(SqlFileError, match=f"holds a password, and {whom} may read it"):
                read(tmp_path, mode=mode, **values)
        assert read(tmp_path, mode=0o640, **values).password == "x"
    assert read(tmp_path, mode=0o644, **SOCKET).password == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another group")
def test_nor_may_another_group(tmp_path: Path) -> None:
    path = written(tmp_path, mode=0o640, **SOCKET, password="x")
    os.chown(path, -1, os.getegid() + 1)
    with pytest.raises(SqlFileError, match="its group may read it"):
        read_settings(path)
