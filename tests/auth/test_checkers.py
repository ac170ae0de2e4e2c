"""The contract, for our checker over each kind of secret and for those that come with Twisted."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
from twisted.cred.checkers import FilePasswordDB, InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import IUsernameHashedPassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.strcred import makeChecker
from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from mailserver.auth import PasswordFile, make_portal
from mailserver.credentials import Password
from mailserver.testing.contracts.checkers import NameRealm
from tests.auth.contract import CheckerContract
from tests.auth.vectors import PASSWORDS, SECRETS


class PlainFileTests(CheckerContract, TestCase):
    def lines(self, users: dict[bytes, bytes]) -> bytes:
        return b"".join(b"%b:{PLAIN}%b\n" % user for user in users.items())

    def make(self, users: dict[bytes, bytes]) -> PasswordFile:
        path = Path(self.mktemp())
        path.write_bytes(self.lines(users))
        checker = PasswordFile(str(path))
        self.successResultOf(checker.start(reactor))
        self.addCleanup(checker.stop)
        return checker


class SlowFileTests(PlainFileTests):
    at_once = False
    scheme = "PBKDF2"
    users: ClassVar = {
        b"alice": PASSWORDS["utf8"],
        "jörg@example.org".encode(): PASSWORDS["long"],
        b"octets": PASSWORDS["octets"],
    }

    def lines(self, users: dict[bytes, bytes]) -> bytes:
        kinds = {password: kind for kind, password in PASSWORDS.items()}
        return b"".join(b"%b:%b\n" % (name, SECRETS[self.scheme][kinds[password]]) for name, password in users.items())

    async def test_digests_are_not_announced(self) -> None:
        assert not self.announces(IUsernameHashedPassword)


class CryptFileTests(SlowFileTests):
    scheme = "SHA512-CRYPT"


class DigestFileTests(SlowFileTests):
    at_once = True
    scheme = "SSHA512"


class TwistedMemoryTests(CheckerContract, TestCase):
    def make(self, users: dict[bytes, bytes]) -> Any:
        checker = InMemoryUsernamePasswordDatabaseDontUse()
        for user in users.items():
            checker.addUser(*user)
        return checker


class TwistedFileTests(CheckerContract, TestCase):
    def make(self, users: dict[bytes, bytes]) -> Any:
        path = Path(self.mktemp())
        path.write_bytes(b"".join(b"%b:%b\n" % user for user in users.items()))
        return FilePasswordDB(str(path), cache=True)


class TwistedMemoryByNameTests(CheckerContract, TestCase):
    """``memory:`` of strcred, whose table is of text where credentials are octets."""

    users: ClassVar = {b"alice": b"tanstaaf", b"octets": "wörter".encode()}

    def make(self, users: dict[bytes, bytes]) -> Any:
        return makeChecker("memory:" + ":".join(text.decode() for user in users.items() for text in user))


@pytest.mark.filterwarnings("ignore:'(crypt|spwd)' is deprecated:DeprecationWarning")
class TwistedUnixTests(TestCase):
    """``unix:`` raises UnicodeDecodeError for a password of a user it knows; for another's it does not."""

    async def test_what_is_no_text_is_refused_as_any_wrong_password(self) -> None:
        portal = make_portal(NameRealm(), [makeChecker("unix")])
        for name in (b"root", b"nobody-of-this-name", b"\xff"):
            for password in (b"not this one", b"\xff\xfe", b"a\0b"):
                with pytest.raises(UnauthorizedLogin):
                    await portal.login(Password(name, password), None)
