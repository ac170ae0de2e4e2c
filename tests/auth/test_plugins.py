from __future__ import annotations

from pathlib import Path

import pytest
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.strcred import ICheckerFactory, InvalidAuthArgumentString
from twisted.plugin import IPlugin
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from mailserver.auth.plugins import PasswordFileFactory
from mailserver.credentials import Password


class PasswordFileFactoryTests(TestCase):
    timeout = 20

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
