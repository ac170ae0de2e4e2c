"""The oracle: what SASL exchanges ask about stored secrets, answered by the checkers that have them."""

from __future__ import annotations

from collections.abc import Iterable

from twisted.internet.defer import Deferred
from zope.interface import implementer

from mailserver.auth.names import user_name
from mailserver.errors import AuthenticationFailed
from mailserver.interfaces import IOracle, IUsers, IVerifiers, VerifierOf


def make_oracle(checkers: Iterable[object]) -> IOracle:
    """An oracle over those of the checkers that provide IVerifiers, in their order."""
    return _Oracle([checker for checker in checkers if IVerifiers.providedBy(checker)])


@implementer(IOracle)
class _Oracle:
    def __init__(self, verifiers: list[IVerifiers]) -> None:
        self._verifiers = verifiers

    def ask(self, request: object) -> Deferred[object]:
        """The answer to a `VerifierOf`. Errors: AuthenticationFailed when no checker serves the mechanism."""
        if not isinstance(request, VerifierOf):
            raise TypeError(f"this oracle answers VerifierOf, not {type(request).__name__}")
        return Deferred.fromCoroutine(self._verifier(request))

    async def _verifier(self, request: VerifierOf) -> object:
        able = [each for each in self._verifiers if request.mechanism in each.mechanisms()]
        if not able:
            raise AuthenticationFailed
        name = user_name(request.username)
        for each in able:
            if name is not None and IUsers.providedBy(each) and await IUsers(each).lookup(name) is not None:
                return await each.verifier(request.username, request.mechanism)
        return await able[0].verifier(request.username, request.mechanism)  # its fake: nobody is known to nobody
