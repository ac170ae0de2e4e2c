"""Checkers are asked in their order."""

from __future__ import annotations

from typing import Any

from twisted.cred.checkers import ANONYMOUS, AllowAnonymousAccess, ICredentialsChecker
from twisted.cred.credentials import Anonymous, IAnonymous, IUsernameHashedPassword, IUsernamePassword
from twisted.cred.error import UnauthorizedLogin, UnhandledCredentials
from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import TestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from mailserver.answers import prompt
from mailserver.auth import Accounts, make_portal
from mailserver.credentials import Apop, Password
from mailserver.errors import TemporaryFailure
from mailserver.names import Names
from mailserver.testing.contracts.checkers import NameRealm

ALICE = Password(b"alice", b"tanstaaf")


@implementer(ICredentialsChecker)
class Answers:
    """A checker that notes who asks, and then answers, raises or fails as it was told."""

    def __init__(self, answer: Any, *interfaces: Any) -> None:
        self.credentialInterfaces = list(interfaces or (IUsernamePassword,))
        self.answer = answer
        self.asked: list[Any] = []

    def requestAvatarId(self, credentials: Any) -> Any:
        self.asked.append(credentials)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class AnswersAtOnce(Answers):
    """The same, whose answers and errors the chain has at once."""

    requestAvatarId = prompt(Answers.requestAvatarId)  # noqa: N815 - ICredentialsChecker names it so


class ChainTests(TestCase):
    def login(self, *checkers: Any, credentials: Any = ALICE) -> Deferred[Any]:
        return make_portal(NameRealm(), checkers).login(credentials, None)

    def test_it_provides_its_interface(self) -> None:
        for chain in make_portal(NameRealm(), []).checkers.values():
            verifyObject(ICredentialsChecker, chain)

    def test_checkers_are_asked_in_their_order_until_one_says_yes(self) -> None:
        checkers = [
            Answers(UnauthorizedLogin()),
            Answers(fail(UnauthorizedLogin())),
            AnswersAtOnce(UnauthorizedLogin()),
            AnswersAtOnce(b"alice"),
            Answers(b"other"),
        ]
        assert self.successResultOf(self.login(*checkers)) == b"alice"
        assert [checker.asked for checker in checkers] == [[ALICE], [ALICE], [ALICE], [ALICE], []]

    def test_a_checker_need_not_declare_its_interface(self) -> None:
        class Undeclared:
            credentialInterfaces = (IUsernamePassword,)  # noqa: N815 - ICredentialsChecker names it so

            def requestAvatarId(self, credentials: Any) -> Any:
                return b"alice"

        assert self.successResultOf(self.login(Undeclared())) == b"alice"
        accounts = Accounts(Names(accounts={"vision25": ""}), [Undeclared()])
        assert self.successResultOf(self.login(accounts)) == b"alice"

    def test_all_refusals_are_a_refusal(self) -> None:
        self.failureResultOf(
            self.login(Answers(UnauthorizedLogin()), Answers(UnhandledCredentials())), UnauthorizedLogin
        )
        self.failureResultOf(self.login(), UnauthorizedLogin)

    def test_a_checker_that_chokes_on_octets_refuses(self) -> None:
        choking = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
        assert self.successResultOf(self.login(Answers(choking), Answers(b"alice"))) == b"alice"

    def test_a_fault_is_no_refusal_and_asks_nobody_else(self) -> None:
        for kind in (Answers, AnswersAtOnce):
            for fault in (KeyError("alice"), OSError(5, "disk"), TemporaryFailure()):
                last = Answers(b"alice")
                self.failureResultOf(self.login(kind(fault), last), type(fault))
                assert last.asked == []

    def test_a_checker_may_answer_later(self) -> None:
        answer: Deferred[bytes] = Deferred()
        login = self.login(Answers(answer), Answers(b"alice"))
        self.assertNoResult(login)
        answer.errback(UnauthorizedLogin())
        assert self.successResultOf(login) == b"alice"

    def test_who_hangs_up_is_no_longer_asked_for(self) -> None:
        gone: list[Any] = []
        login = self.login(Answers(Deferred(gone.append)), Answers(b"alice"))
        login.cancel()
        self.failureResultOf(login)
        assert len(gone) == 1

    def test_only_those_who_serve_the_interface_now_are_asked(self) -> None:
        digests = Answers(b"digests", IUsernamePassword, IUsernameHashedPassword)
        portal = make_portal(NameRealm(), [Answers(b"passwords"), digests])
        chain = portal.checkers[IUsernameHashedPassword]
        apop = Apop(b"<1@h>", b"alice", b"0" * 32)
        assert chain.credentialInterfaces == (IUsernameHashedPassword,)
        assert self.successResultOf(portal.login(apop, None)) == b"digests"
        digests.credentialInterfaces.remove(IUsernameHashedPassword)
        assert chain.credentialInterfaces == ()
        self.failureResultOf(portal.login(apop, None), UnauthorizedLogin)
        digests.credentialInterfaces.append(IUsernameHashedPassword)
        assert chain.credentialInterfaces == (IUsernameHashedPassword,)

    def test_a_checkers_other_interfaces_are_served_too(self) -> None:
        portal = make_portal(NameRealm(), [AllowAnonymousAccess()])
        assert self.successResultOf(portal.login(Anonymous(), None)) == ANONYMOUS
        assert portal.checkers[IAnonymous].credentialInterfaces == (IAnonymous,)

    def test_what_can_be_no_name_or_password_is_asked_of_none(self) -> None:
        checker = Answers(b"alice", IUsernamePassword, IUsernameHashedPassword)
        for credentials in (
            Password(b"../alice", b"x"),
            Password(b"", b"x"),
            Password(b"\xff", b"x"),
            Password(b"alice", b"x\0y"),
            Password(b"alice", b"x" * 5000),
            Apop(b"<1@h>", b"a/b", b"0" * 32),
        ):
            self.failureResultOf(self.login(checker, credentials=credentials), UnauthorizedLogin)
        assert checker.asked == []
