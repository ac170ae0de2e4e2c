"""Courier's authldaprc: what it becomes, and that the users of a real directory log in with the result."""

import tomllib

import pytest
from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from mailserver.auth.ldap.checker import LdapUsers
from mailserver.credentials import Password
from mailserver.errors import LoginRefused
from mailserver.migration.users.converted import Unconvertible
from mailserver.migration.users.courier_ldap import read_courier_ldap
from tests.auth.ldap.slapd import PASSWORD, SERVICE

FILE = """\
##NAME: LOCATION:0
LDAP_URI\t\t{uri}
LDAP_BASEDN\t\t{base}
LDAP_BINDDN\t\t{service}
LDAP_BINDPW\t\t{password}
LDAP_AUTHBIND\t\t{authbind}
LDAP_INITBIND\t\t1
LDAP_MAIL\t\tuid
LDAP_FILTER\t\t(objectClass=inetOrgPerson)
LDAP_HOMEDIR\t\thomeDirectory
LDAP_CRYPTPW\t\tuserPassword
LDAP_TLS\t\t0
"""


class TestDirectory(TestCase):
    """The users of a real OpenLDAP."""

    @pytest.fixture(autouse=True)
    def _given(self, slapd, tmp_path):
        self.slapd, self.path = slapd, tmp_path / "ldap.toml"

    async def admitted(self, authbind, name, password):
        base = self.slapd.people(
            {b"alice": b"{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g="}, alice={"homeDirectory": "/home/alice"}
        )
        text = FILE.format(uri=self.slapd.ldapi, base=base, service=SERVICE, password=PASSWORD, authbind=authbind)
        converted = read_courier_ldap(text, "authldaprc")
        assert converted.remarks == []
        assert PASSWORD not in converted.shown + repr(converted)
        assert tomllib.loads(converted.text)["mode"] == ("search" if authbind else "compare")
        self.path.write_text(converted.text)
        checker = LdapUsers(str(self.path))
        await checker.start(reactor)
        self.addCleanup(checker.stop)
        try:
            await checker.requestAvatarId(Password(name, password))
        except LoginRefused:
            return False
        return (await checker.lookup("alice")).home == "/home/alice"

    async def test_a_bind_proves_the_password(self):
        assert await self.admitted(1, b"alice", b"password")
        assert not await self.admitted(1, b"alice", b"wrong")
        assert not await self.admitted(1, b"bob", b"password")

    async def test_a_hash_proves_the_password(self):
        assert await self.admitted(0, b"alice", b"password")
        assert not await self.admitted(0, b"alice", b"wrong")


def made(text):
    converted = read_courier_ldap(text, "x")
    return tomllib.loads(converted.text), {each.about: each.text for each in converted.remarks}


def test_old_names_of_the_server_and_several_servers_are_read():
    assert made("LDAP_SERVER a.example.org\nLDAP_TLS 1\n")[0]["servers"] == ["ldap://a.example.org:389"]
    assert made("LDAP_URI ldaps://a, ldaps://b/\n")[0]["servers"] == ["ldaps://a", "ldaps://b"]
    assert "start_tls" not in made("LDAP_URI ldap://a\nLDAP_TLS 1\n")[0]
    assert made("LDAP_URI ldap://a\n")[0]["start_tls"] is False


def test_what_has_no_place_here_is_told():
    names = ("DOMAIN", "MAILROOT", "MAILDIR", "MAILDIRQUOTA", "CLEARPW", "AUXOPTIONS", "EMAILMAP")
    text = "LDAP_URI ldaps://a\nLDAP_ENUMERATE_FILTER (a=b)\n" + "".join(f"LDAP_{name} x\n" for name in names)
    settings, told = made(text)
    assert set(told) == {f"LDAP_{name}" for name in names}
    assert (settings["mode"], settings["list_filter"]) == ("search", "(a=b)")


def test_what_is_no_such_file_is_refused():
    with pytest.raises(Unconvertible, match="authldaprc"):
        read_courier_ldap("MYSQL_SERVER x\n", "x")
