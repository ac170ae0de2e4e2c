"""The oracle: answers the requests of SASL exchanges about stored secrets, by the checkers that have them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernameHashedPassword, IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure
from zope.interface import implementer

from mailserver.auth.chain import Chain
from mailserver.auth.kerberos.gssapi import GssapiAcceptor
from mailserver.auth.users import Users
from mailserver.credentials import BearerToken, IBearerToken
from mailserver.errors import AuthenticationFailed, LoginRefused
from mailserver.exchange import DigestKey, GssToken, GssUnwrap, GssWrap, ScramKeys, VerifierOf
from mailserver.interfaces import Census, IOracle, IVerifiers, UserId
from mailserver.names import user_name
from mailserver.refusals import login_refused


def make_oracle(checkers: Users | Iterable[object], gssapi: GssapiAcceptor | None = None) -> IOracle:
    """An oracle over those of the checkers that provide IVerifiers or take bearer tokens, in their order, and `gssapi`."""
    return _Oracle(Users.of(checkers), gssapi)


@implementer(IOracle)
class _Oracle:
    def __init__(self, users: Users, gssapi: GssapiAcceptor | None) -> None:
        checkers = [ICredentialsChecker(each) for each in users.backends if ICredentialsChecker.providedBy(each)]
        self._users = users
        self._verifiers = [IVerifiers(each) for each in users.backends if IVerifiers.providedBy(each)]
        self._others = [each for each in checkers if not IVerifiers.providedBy(each)]
        self._tokens = Chain(IBearerToken, checkers, among=users)
        self._gssapi = gssapi

    def mechanisms(self) -> frozenset[bytes]:
        """The mechanisms of all verifiers, and GSSAPI if its start succeeded."""
        own = {b"GSSAPI"} if self._gssapi is not None and self._gssapi.available else ()
        return frozenset[bytes](own).union(*(each.mechanisms() for each in self._verifiers))

    def census(self) -> Census:
        """The verifiers' counts together. Of other checkers of passwords, only the support of digests is known."""
        counted = [each.census() for each in self._verifiers]
        able: Counter[bytes] = Counter()
        for census in counted:
            able.update(census.able)
        others = [each.uncounted for each in counted if each.uncounted is not None]
        others += [_uncounted(each) for each in self._others if IUsernamePassword in each.credentialInterfaces]
        uncounted = frozenset.intersection(*others) if others else None
        return Census(sum(census.users for census in counted), able, uncounted)

    def ask(self, request: object) -> Deferred[object]:
        """The answer to a `VerifierOf` or a step of GSS-API; the name of a `BearerToken`'s owner, or why it is invalid.

        Errors: AuthenticationFailed when no checker serves the mechanism, or a ticket is refused; TemporaryFailure.
        """
        match request:
            case VerifierOf():
                return Deferred.fromCoroutine(self._verifier(request))
            case BearerToken():
                asked: Deferred[object] = maybeDeferred(self._tokens.requestAvatarId, request)
                return asked.addErrback(_not_good)
            case GssToken() | GssWrap() | GssUnwrap() if self._gssapi is not None:
                return self._gssapi.ask(request)
        raise TypeError(f"the oracle cannot answer a {type(request).__name__}")

    async def _verifier(self, request: VerifierOf) -> object:
        able = [each for each in self._verifiers if request.mechanism in each.mechanisms()]
        if not able:
            raise AuthenticationFailed
        name, username = user_name(request.username), request.username
        if name is None:
            return await able[0].verifier(username, request.mechanism, request.realm, request.typed)
        holder = await self._users.holder(name, able)
        verifiers = able[0] if holder.verifiers is None else holder.verifiers  # for an unknown user, its fake keys
        typed = request.typed or (username if holder.name != name else b"")
        question = holder.name.encode("utf-8"), request.mechanism, request.realm, typed
        timing = self._users.timing
        if timing is None:
            answer = await verifiers.verifier(*question)
        else:
            answer = await maybeDeferred(timing.ask, verifiers, verifiers.verifier, *question)
        return _with_user(answer, holder.user_id)


def _with_user(answer: object, user_id: UserId) -> object:
    """The answer, marked with the user for the login that may follow. Fake keys take the same work."""
    if isinstance(answer, ScramKeys):
        return replace(answer, user_id=user_id)
    return DigestKey(answer, user_id) if isinstance(answer, bytes) else answer


def _uncounted(checker: ICredentialsChecker) -> frozenset[bytes]:
    """The mechanisms that all users of a checker without a census can use: those with digests, if it supports digests."""
    return frozenset({b"APOP", b"CRAM-MD5"} if IUsernameHashedPassword in checker.credentialInterfaces else ())


def _not_good(failure: Failure) -> LoginRefused:
    failure.trap(UnauthorizedLogin)
    return login_refused(failure.value)
