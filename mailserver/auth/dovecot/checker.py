"""The ``dovecot-auth:`` checker: a running Dovecot verifies passwords, and says where its users' mail is."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import replace
from typing import Any, Final

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from mailserver import reasons
from mailserver.asker import client
from mailserver.auth.dovecot.service import AUTH, USERDB, AuthService, Reply
from mailserver.auth.passwd.extra_fields import read_fields
from mailserver.auth.schemes import plausible
from mailserver.errors import LoginRefused, TemporaryFailure
from mailserver.foresight import IForesees, Prospect, Way
from mailserver.interfaces import IPart, IUsers, User
from mailserver.names import PLAIN, Names

CODES: Final = {
    "user_disabled": "Dovecot says that the user is disabled",
    "pass_expired": "Dovecot says that the password has expired",
    "authz": "Dovecot does not let this user log in for another",
    "authz_fail": "Dovecot does not let this user log in for another",
}
"""The reasons of a refusal: the values of ``code=``, and until 2.2 words of their own."""

ELSEWHERE: Final = {
    "nologin": "Dovecot's passdb has nologin for the user",
    "proxy": "Dovecot's passdb says that the user's mail is on another server",
    "proxy_maybe": "Dovecot's passdb says that the user's mail may be on another server",
}
"""Words of an ``OK`` at which Dovecot's own POP3 server lets nobody in."""


DOUBT: Final = "it tells of nobody without the password: see `doveadm auth test` and `doveadm user`"
"""What a login would tell."""


@implementer(ICredentialsChecker, IForesees, IPart)
class DovecotAuth:
    """A checker that asks Dovecot at its socket `path`. Call `start` before the first login.

    Nothing is remembered: Dovecot has a cache of its own, and a change there counts from the next login.
    """

    credentialInterfaces = (IUsernamePassword,)  # noqa: N815 - ICredentialsChecker names it so

    def __init__(self, path: str) -> None:
        self._auth = AuthService(path, AUTH)
        self._services = [self._auth]
        self.naming: Names = PLAIN
        """The rules by which Dovecot's names are read; set before the start."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._auth.path!r})"

    def start(self, reactor: Any) -> Deferred[None]:
        """Connect. Where that may still come to work, it is only logged. Errors: Unusable."""
        return Deferred.fromCoroutine(self._start(reactor))

    async def _start(self, reactor: Any) -> None:
        try:
            for service in self._services:
                await service.start(reactor)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> Deferred[None]:
        """Close the connections; who waits for an answer is told to try again later."""
        for service in self._services:
            service.stop()
        return succeed(None)

    def reload(self) -> Deferred[None]:
        """Nothing is kept here."""
        return succeed(None)

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes | tuple[()]]:
        """The name that Dovecot gives the user, if it accepts the password. Errors: LoginRefused, TemporaryFailure."""
        return Deferred.fromCoroutine(self._check(credentials.username, credentials.password))

    def foresee(self, name: bytes, mechanism: bytes) -> Deferred[Prospect]:  # noqa: ARG002 - it takes passwords alone
        """Whether Dovecot answers: its passdb tells of nobody without the password. Errors: TemporaryFailure."""
        return Deferred.fromCoroutine(self._foresee(name))

    async def _foresee(self, name: bytes) -> Prospect:
        await self._auth.reach()
        return Prospect(None, [Way("", "", name)], doubt=DOUBT)

    async def _check(self, name: bytes, password: bytes) -> bytes:
        if not plausible(password) or b"\0" in name:
            raise LoginRefused(reasons.ODD_PASSWORD, known=None)
        plain = b64encode(b"\0%b\0%b" % (name, password))
        reply = await self._auth.ask(b"AUTH", b"PLAIN", b"service=pop3", *_facts(), b"resp=" + plain)
        if reply.word == b"FAIL":
            raise self._refusal(reply)
        fields = reply.fields
        for word in ELSEWHERE.keys() & fields.keys():
            raise LoginRefused(reasons.DENIED, said=_because(ELSEWHERE[word], fields))
        accepted = self._name(fields.get("user") if reply.word == b"OK" else None)
        if accepted is None:
            raise TemporaryFailure
        return accepted.encode("utf-8")

    def _refusal(self, reply: Reply) -> LoginRefused | TemporaryFailure:
        fields = reply.fields
        codes = [fields.get("code", ""), *fields]
        if "temp_fail" in codes or "temp" in codes:
            self._auth.tell("one of its own databases fails, see Dovecot's log")
            return TemporaryFailure()
        for code in codes:
            if code in CODES:
                return LoginRefused(reasons.BACKEND, said=_because(CODES[code], fields))
        return LoginRefused(
            reasons.BACKEND, known=None, said=_because("Dovecot refuses the name or the password", fields)
        )

    def _name(self, given: str | None) -> str | None:
        """A name that Dovecot gives; None, which is logged, where nobody can have it."""
        name = self.naming.read(given)
        if name is None:
            self._auth.tell("it accepts a password without a name that a user can have")
        return name


@implementer(IUsers)
class DovecotUsers(DovecotAuth):
    """Such a checker that also asks Dovecot's userdb, at the socket `userdb`, for homes and mail locations."""

    def __init__(self, path: str, userdb: str) -> None:
        super().__init__(path)
        self._userdb = AuthService(userdb, USERDB)
        self._services.append(self._userdb)

    def lookup(self, name: str) -> Deferred[User | None]:
        """The user, as Dovecot's userdb knows it."""
        return Deferred.fromCoroutine(self._lookup(name))

    async def _foresee(self, name: bytes) -> Prospect:
        seen = await super()._foresee(name)
        user = await self._lookup(name.decode("utf-8", "surrogateescape"))
        return replace(seen, user=user, doubt=seen.doubt if user else f"Dovecot's userdb has no such user, and {DOUBT}")

    async def _lookup(self, name: str) -> User | None:
        reply = await self._userdb.ask(b"USER", name.encode("utf-8"), b"service=pop3", *_facts())
        if reply.word == b"NOTFOUND":
            return None
        named = (
            self._name(reply.words[0].decode("utf-8", "surrogateescape"))
            if reply.word == b"USER" and reply.words
            else None
        )
        if named is None:
            self._userdb.tell("its userdb fails, see Dovecot's log")
            raise TemporaryFailure
        extra = read_fields(
            {f"userdb_{key}": value for key, value in Reply(b"", reply.words[1:]).fields.items()}, named
        )
        return User(named, home=extra.home, mail=extra.mail, unserved=extra.unserved, **extra.attributes)


def _facts() -> list[bytes]:
    """What Dovecot is told about the client. Its own hold on guessers is left out, since this server has one: twice takes too long."""
    facts, mind = [b"no-penalty"], client()
    if mind is not None:
        facts += [b"secured=tls"] if mind.tls else []
        facts += [b"rip=" + mind.peer.partition("%")[0].encode("ascii")] if mind.peer else []
        facts += [b"session=" + mind.session.encode("ascii")] if mind.session else []
    return facts


def _because(reason: str, fields: dict[str, str]) -> str:
    return f"{reason}: {fields['reason'][:80]!a}" if fields.get("reason") else reason
