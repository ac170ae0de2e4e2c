from __future__ import annotations

from pathlib import Path

import pytest

from mailserver.auth.ldap.settings import LdapFileError, Server, read_settings, read_url

GOOD = 'servers = ["ldaps://ldap.example.org"]\nbase = "dc=example,dc=org"\nfilter = "(uid={user})"\n'


def problems(path: Path, text: str) -> str:
    (path / "ldap.toml").write_text(text)
    with pytest.raises(LdapFileError) as error:
        read_settings(str(path / "ldap.toml"))
    return str(error.value)


def test_urls_are_read() -> None:
    for url, server in {
        "ldap://ldap.example.org": ("ldap", "ldap.example.org", 389, False),
        "ldaps://ldap.example.org:1636/": ("ldaps", "ldap.example.org", 1636, False),
        "ldap://[::1]:390": ("ldap", "::1", 390, True),
        "ldap://127.0.0.9": ("ldap", "127.0.0.9", 389, True),
        "ldap://localhost": ("ldap", "localhost", 389, True),
        "ldapi:///run/slapd/ldapi": ("ldapi", "/run/slapd/ldapi", 0, True),
        "ldapi://%2Frun%2Fldapi": ("ldapi", "/run/ldapi", 0, True),
    }.items():
        read = read_url(url)
        assert (read.scheme, read.host, read.port, read.is_local) == server
        assert isinstance(read, Server)
    for url in (
        "ldap.example.org",
        "http://x",
        "ldap://",
        "ldap://x/dc=x",
        "ldap://u@x",
        "ldapi://x",
        "ldap://x?y",
        "ldap://x:y",
    ):
        with pytest.raises(ValueError, match=r"."):
            read_url(url)


def test_what_contradicts_is_told_with_its_line(tmp_path: Path) -> None:
    for more, words in {
        'start_tls = false\nservers = ["ldap://ldap.example.org"]\nbase = "x"\nfilter = "(uid={user})"\n': "in clear",
        'base = "x"\nfilter = "(uid={user})"\n': "servers is missing",
        GOOD + 'mode = "bind"\n': "needs bind_as",
        GOOD + 'bind_as = "{user}@x"\n': 'is for mode = "bind"',
        GOOD + 'mode = "bind"\nbind_as = "uid=alice"\n': "the same name",
        GOOD + 'mode = "bind"\nbind_as = "{user}@x"\nremember_seconds = 5\n': "must be 0",
        GOOD + 'service_dn = "cn=x"\n': "needs service_password",
        GOOD + 'list_filter = "(uid={user})"\n': "has no",
        GOOD + 'list_filter = "uid"\n': "in parentheses",
        GOOD + '[attributes]\nhme = "x"\n': 'did you mean "home"',
        GOOD + '[attributes]\nhome = "a b"\n': "must be the name",
        GOOD + '[attributes]\ndisabled = "1.3.6.1.4.1.7914.1.2.1.14"\n': "must be the name",
        GOOD + 'mode = "compare"\nkind = "active-directory"\n': "attributes.password",
        GOOD.replace("{user}", "alice"): "for all users",
        GOOD.replace("(uid={user})", "(uid={usr})"): 'did you mean "user"',
        GOOD.replace('base = "dc=example,dc=org"', ""): "needs base",
        'servers = ["ldaps://x"]\n': "filter is missing",
        'servers = ["x"]\nbase = "x"\nfilter = "(uid={user})"\n': "a server is a URL",
        GOOD + "remember_seconds = -1\n": "at least 0",
        GOOD + "modes = 1\n": 'did you mean "mode"',
    }.items():
        said = problems(tmp_path, more)
        assert words in said, said
        assert all(line.startswith(f"{tmp_path}/ldap.toml") for line in said.splitlines())


def test_no_secret_is_shown(tmp_path: Path) -> None:
    (tmp_path / "ldap.toml").write_text(GOOD + 'service_dn = "cn=x"\nservice_password = "sesame"\n')
    site = read_settings(str(tmp_path / "ldap.toml"))
    assert "sesame" not in repr(site)
    assert "sesame" not in problems(tmp_path, GOOD + 'service_password = ["sesame"]\n')


def test_all_users_are_found_by_the_filter_without_the_name(tmp_path: Path) -> None:
    path = tmp_path / "ldap.toml"
    for text, octets in (("(uid={user})", "8703756964"), ("(mail={local}@{domain})", "a40b04046d61696c3003810140")):
        path.write_text(GOOD.replace("(uid={user})", text))
        everybody = read_settings(str(path)).everybody
        assert everybody is not None
        assert everybody.encode({}).hex() == octets


def test_a_hash_is_remembered_for_an_hour_and_a_bind_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "ldap.toml"
    for more, seconds in (
        ("", 0),
        ('mode = "compare"\n', 3600),
        ('mode = "compare"\nremember_seconds = 0\n', 0),
        ("remember_seconds = 9\n", 9),
    ):
        path.write_text(GOOD + more)
        assert read_settings(str(path)).settings.remembers == seconds
