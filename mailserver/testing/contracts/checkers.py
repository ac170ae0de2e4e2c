"""What every checker must do, as the chain of a portal asks it: subclass `CheckerContract` beside a trial TestCase."""

from __future__ import annotations

from hashlib import md5
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernameHashedPassword, IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import IRealm
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs
from zope.interface import implementer
from zope.interface.verify import verifyObject

from mailserver.auth import make_portal
from mailserver.credentials import Apop, Password
from mailserver.interfaces import IUserList

USERS = {
    b"alice": b"tanstaaf",
    "jörg@example.org".encode(): "pässwört mit Leerzeichen".encode(),
    b"octets": b"\xff\xfe\x80",
}

STAMP = b"<1896.697170952@dbc.mtview.ca.us>"


def digest(secret: bytes) -> bytes:
    """APOP's, for `STAMP`."""
    return md5(STAMP + secret).hexdigest().encode()


@implementer(IRealm)
class NameRealm:
    """The avatar is the avatar id."""

    def requestAvatar(self, avatarId: Any, mind: object, *interfaces: Any) -> Any:  # noqa: ARG002, N803 - IRealm names it so
        """At once."""
        return avatarId


class CheckerContract:
    """`make` gives a started checker that knows `users`."""

    users = USERS

    def make(self, users: dict[bytes, bytes]) -> Any:
        raise NotImplementedError

    def setUp(self) -> None:
        self.checker = self.make(dict(self.users))
        self.portal = make_portal(NameRealm(), [self.checker])

    def login(self, credentials: Any) -> Deferred[Any]:
        return self.portal.login(credentials, None)

    async def refused(self, credentials: Any) -> None:
        try:
            await self.login(credentials)
        except UnauthorizedLogin:
            return
        raise AssertionError("a login with wrong credentials was let in")

    def announces(self, interface: Any) -> bool:
        return interface in self.portal.checkers[interface].credentialInterfaces

    def test_it_provides_its_interface(self) -> None:
        verifyObject(ICredentialsChecker, self.checker)
        assert self.announces(IUsernamePassword)

    async def test_the_right_password_is_taken(self) -> None:
        for name, password in self.users.items():
            assert await self.login(Password(name, password)) == name

    async def test_a_second_time_as_well(self) -> None:
        for _ in range(2):
            assert await self.login(Password(b"alice", self.users[b"alice"])) == b"alice"
            await self.refused(Password(b"alice", b"wrong"))

    async def test_any_other_password_is_refused(self) -> None:
        right = self.users[b"alice"]
        for wrong in (
            b"",
            right[:-1],
            right + b" ",
            b" " + right,
            right.upper(),
            right + b"\0",
            b"x" * 100_000,
            b"\xff\xfe",
        ):
            await self.refused(Password(b"alice", wrong))

    async def test_an_unknown_user_is_refused(self) -> None:
        for name in (b"nobody", b"", b"Alice", b"alice ", b"alice\0", b"../alice", b"\xff", b"a" * 100_000):
            await self.refused(Password(name, self.users[b"alice"]))

    async def test_one_users_password_is_not_anothers(self) -> None:
        await self.refused(Password(b"octets", self.users[b"alice"]))

    async def test_digests_are_taken_while_they_are_announced(self) -> None:
        if self.announces(IUsernameHashedPassword):
            for name, password in self.users.items():
                assert await self.login(Apop(STAMP, name, digest(password))) == name
        else:
            await self.refused(Apop(STAMP, b"alice", digest(self.users[b"alice"])))

    async def test_a_wrong_digest_is_refused(self) -> None:
        for name in (b"alice", b"nobody", b"\xff", b""):
            for wrong in (digest(b"wrong"), digest(b""), b"", b"\xff" * 32, digest(self.users[b"alice"]).upper()):
                await self.refused(Apop(STAMP, name, wrong))

    async def test_secrets_are_neither_shown_nor_logged(self) -> None:
        with capturedLogs() as events:
            await self.login(Password(b"alice", self.users[b"alice"]))
            await self.refused(Password(b"alice", b"wr0ngwr0ng"))
        seen = repr([events, self.checker, self.portal.checkers])
        assert self.users[b"alice"].decode() not in seen
        assert "wr0ngwr0ng" not in seen


class UserListContract:
    """What whoever lists users must do, beside a trial TestCase; `make` gives one that has exactly the users `names`."""

    listed = ("alice", "Bob", "bob", "jörg@example.org", "jörg@example.net", "zoë", "a.b", "a")

    def make(self, names: list[str]) -> Any:
        raise NotImplementedError

    def setUp(self) -> None:
        self.users = self.make(list(self.listed))

    def test_it_provides_its_interface(self) -> None:
        verifyObject(IUserList, self.users)

    async def test_pages_of_any_size_have_every_name_once_in_the_order_of_code_points(self) -> None:
        for limit in (1, 2, 3, len(self.listed), 1000):
            after, found = "", []
            while page := await self.users.names(after, limit):
                assert len(page) <= limit
                found += page
                after = page[-1]
                if len(page) < limit:
                    break
            assert found == sorted(self.listed)

    async def test_a_page_begins_behind_a_name_that_need_not_be_there(self) -> None:
        assert await self.users.names("b", 2) == ["bob", "jörg@example.net"]
        assert await self.users.names("bob", 1) == ["jörg@example.net"]
        assert not await self.users.names("zoë", 5)

    async def test_whom_it_lists_it_knows(self) -> None:
        for name in await self.users.names("", 100):
            assert await self.users.lookup(name) is not None
