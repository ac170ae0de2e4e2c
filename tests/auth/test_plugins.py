from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import pytest
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.strcred import ICheckerFactory, InvalidAuthArgumentString
from twisted.plugin import IPlugin
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from mailserver.auth.dovecot.checker import DovecotAuth, DovecotUsers
from mailserver.auth.plugins import DovecotAuthFactory, LdapFactory, OAuthFactory, PasswordFileFactory
from mailserver.credentials import IBearerToken, Password
from mailserver.interfaces import IPart


class PasswordFileFactoryTests(TestCase):
    def users(self) -> str:
        path = Path(self.mktemp())
        path.write_bytes(b"alice:{PLAIN}tanstaaf\n")
        return str(path)

    def test_it_is_a_plugin_of_strcred(self) -> None:
        factory = PasswordFileFactory()
        verifyObject(ICheckerFactory, factory)
        verifyObject(IPlugin, factory)
        assert factory.authType == "passwd-file"
        assert IUsernamePassword in factory.credentialInterfaces

    async def test_its_checker_serves_a_program_that_does_not_start_it(self) -> None:
        checker = PasswordFileFactory().generateChecker(self.users())
        self.addCleanup(checker.stop)
        assert await checker.requestAvatarId(Password(b"alice", b"tanstaaf")) == b"alice"

    def test_without_a_file_it_is_an_error_that_says_how(self) -> None:
        with pytest.raises(InvalidAuthArgumentString, match="passwd-file:/path"):
            PasswordFileFactory().generateChecker(" ")
        with pytest.raises(InvalidAuthArgumentString, match="passwd-file:/path"):
            PasswordFileFactory().generateChecker(":domain=example.org")

    async def test_its_users_may_be_of_one_domain(self) -> None:
        checker = PasswordFileFactory().generateChecker(f"{self.users()}:domain=example.org")
        self.addCleanup(checker.stop)
        assert await checker.requestAvatarId(Password(b"alice@example.org", b"tanstaaf")) == b"alice@example.org"

    def test_a_domain_that_is_none_is_an_error(self) -> None:
        for domain in ("", "Example.org", "a@b", "../x", "a/b"):
            with pytest.raises(InvalidAuthArgumentString, match="the domain must be one in lower case"):
                PasswordFileFactory().generateChecker(f"/users:domain={domain}")


class DovecotAuthFactoryTests(TestCase):
    def test_it_is_a_plugin_of_strcred(self) -> None:
        factory = DovecotAuthFactory()
        verifyObject(ICheckerFactory, factory)
        verifyObject(IPlugin, factory)
        assert (factory.authType, factory.credentialInterfaces) == ("dovecot-auth", (IUsernamePassword,))

    def test_it_makes_a_checker_that_knows_users_only_with_a_userdb(self) -> None:
        checker = DovecotAuthFactory().generateChecker("/run/a")
        assert (type(checker), repr(checker)) == (DovecotAuth, "DovecotAuth('/run/a')")
        assert isinstance(DovecotAuthFactory().generateChecker("/run/a:userdb=/run/b"), DovecotUsers)

    def test_without_the_paths_it_says_how(self) -> None:
        for wrong in (" ", "auth-client", "/run/a:userdb=", ":userdb=/run/b"):
            with pytest.raises(InvalidAuthArgumentString, match="dovecot-auth:/run/dovecot/auth-client"):
                DovecotAuthFactory().generateChecker(wrong)


class OAuthFactoryTests(TestCase):
    def test_it_is_a_plugin_of_strcred(self) -> None:
        factory = OAuthFactory()
        verifyObject(ICheckerFactory, factory)
        verifyObject(IPlugin, factory)
        assert (factory.authType, factory.credentialInterfaces) == ("oauth2", (IBearerToken,))

    def test_it_makes_a_checker_that_the_service_starts(self) -> None:
        checker = OAuthFactory().generateChecker("/etc/mailserver/oauth.toml")
        assert IPart.providedBy(checker)
        assert repr(checker) == "OAuthTokens('/etc/mailserver/oauth.toml')"

    def test_without_a_file_it_says_so(self) -> None:
        with pytest.raises(InvalidAuthArgumentString, match="oauth2:/path"):
            OAuthFactory().generateChecker(" ")

    def test_without_its_extra_it_says_so(self) -> None:
        treq = import_module("treq")
        self.addCleanup(sys.modules.update, treq=treq)
        sys.modules["treq"] = None  # type: ignore[assignment]  # so Python remembers that there is none
        with pytest.raises(InvalidAuthArgumentString, match=r"pip install twisted-mailserver\[oauth\]"):
            OAuthFactory().generateChecker("/etc/mailserver/oauth.toml")


class LdapFactoryTests(TestCase):
    def test_it_makes_a_checker_that_the_service_starts(self) -> None:
        factory = LdapFactory()
        verifyObject(ICheckerFactory, factory)
        checker = factory.generateChecker("/etc/mailserver/ldap.toml")
        assert IPart.providedBy(checker)
        assert repr(checker) == "LdapUsers('/etc/mailserver/ldap.toml')"
        with pytest.raises(InvalidAuthArgumentString, match="ldap:/path"):
            factory.generateChecker(" ")
