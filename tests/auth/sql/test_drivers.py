"""The plugin, and the drivers that it imports before root is given up."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from twisted.cred.credentials import IUsernameHashedPassword, IUsernamePassword
from twisted.cred.strcred import ICheckerFactory, InvalidAuthArgumentString
from twisted.plugin import IPlugin
from zope.interface.verify import verifyObject

from mailserver.auth.plugins import SqlFactory
from mailserver.interfaces import IPart


def without(package: str, patched: pytest.MonkeyPatch) -> None:
    patched.setitem(sys.modules, package, None)
    for kind in ("postgresql", "mysql", "sqlite"):
        patched.delitem(sys.modules, f"mailserver.auth.sql.{kind}", raising=False)


def test_it_is_a_plugin_of_strcred() -> None:
    factory = SqlFactory()
    verifyObject(ICheckerFactory, factory)
    verifyObject(IPlugin, factory)
    assert (factory.authType, factory.credentialInterfaces) == ("sql", (IUsernamePassword, IUsernameHashedPassword))


def test_it_makes_a_checker_whose_file_is_read_at_its_start() -> None:
    checker = SqlFactory().generateChecker(" /nonexistent/sql.toml ")
    assert IPart.providedBy(checker)
    assert repr(checker) == "SqlUsers('/nonexistent/sql.toml')"


def test_without_a_file_it_says_so() -> None:
    with pytest.raises(InvalidAuthArgumentString, match="sql:/path"):
        SqlFactory().generateChecker(" ")


@pytest.mark.parametrize(
    ("package", "text", "extra"),
    [
        ("psycopg", 'kind = "postgresql"', "postgresql"),
        ("psycopg", 'url = "postgres://x/y"', "postgresql"),
        ("pymysql", 'kind = "mysql"', "mysql"),
        ("pymysql", 'url = "mariadb://x/y"', "mysql"),
    ],
)
def test_without_its_driver_it_names_the_extra(
    package: str, text: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(package, monkeypatch)
    file = tmp_path / "sql.toml"
    file.write_text(text)
    with pytest.raises(InvalidAuthArgumentString, match=rf"pip install twisted-mailserver\[{extra}\]"):
        SqlFactory().generateChecker(str(file))


@pytest.mark.parametrize("text", ["", "kind = 1", "kind = [", 'kind = "odd"', "x = " + "[" * 9999, 'kind = "sqlite"'])
def test_a_file_that_says_nothing_is_no_error_yet(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without("psycopg", monkeypatch)
    file = tmp_path / "sql.toml"
    file.write_text(text)
    assert SqlFactory().generateChecker(str(file))
