"""What the operator reads of a failed login; what the client hears of it is the same for all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.cred.error import LoginFailed, UnauthorizedLogin
from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from mailserver.auth import MailboxRealm, PasswordFile, make_portal
from mailserver.auth.accounts import Accounts
from mailserver.auth.refusals import first_reason
from mailserver.credentials import ActingFor, Apop, CramMd5, Password, Unproven, VerifiedIdentity
from mailserver.errors import LoginRefused
from mailserver.interfaces import IMaildrop, Mind
from mailserver.names import Names
from mailserver.refusals import login_refused, refusal_for
from tests.auth.kerberos.realms import Store
from tests.auth.test_chain import Answers
from tests.auth.vectors import SECRETS

LINES = b"""\
alice:{PLAIN}a::::/home/alice
user010@example.org:{PLAIN}a
Carol:{PLAIN}a
hashed:%b
broken:{NONE}x
shut:{PLAIN}x::::::nologin reason=Unpaid
far:{PLAIN}x::::::allow_nets=192.0.2.0/24
later:{PLAIN}x::::::delay_until=4102444800
public:::::::nopassword
""" % SECRETS["SSHA"]["utf8"]

MIND = Mind("198.51.100.1", tls=True, listener="pop3")


class ReasonTests(TestCase):
    def checker(self, lines: bytes = LINES, **rules: Any) -> PasswordFile:
        path = Path(self.mktemp())
        path.write_bytes(lines)
        checker = PasswordFile(str(path))
        checker.naming = Names(**rules)
        self.successResultOf(checker.start(reactor))
        self.addCleanup(checker.stop)
        return checker

    def why(self, credentials: Any, *checkers: Any, masters: tuple[str, ...] = ()) -> tuple[str, str]:
        given = checkers or (self.checker(),)
        users = [each for each in given if hasattr(each, "lookup")]
        portal = make_portal(MailboxRealm(Store(), users), given, masters)
        failure = self.failureResultOf(portal.login(credentials, MIND, IMaildrop), LoginFailed)
        refused = login_refused(failure.value)
        assert str(refusal_for(failure.value)) == "AuthenticationFailed(b'[AUTH] authentication failed')"
        return refused.reason, refused.hint

    def test_a_wrong_password(self) -> None:
        assert self.why(Password(b"alice", b"x")) == ("wrong password", "")

    def test_an_unknown_user_and_who_is_known_instead(self) -> None:
        assert self.why(Password(b"nobody", b"a")) == ("unknown user", "")
        near = "'user010@example.org' is known"
        assert self.why(Password(b"user010", b"a")) == ("unknown user", f"{near}; names.default_domain is ''")
        for rules, said in (
            ({"default_domain": "example.net"}, "'' for this endpoint"),
            ({"default_domain": "example.net", "local_domains": ("example.net",)}, "'example.net'"),
        ):
            hint = self.why(Password(b"user010", b"a"), self.checker(**rules))[1]
            assert hint == f"{near}; names.default_domain is {said}"
        assert self.why(Password(b"user010@example.com", b"a")) == ("unknown user", near)
        assert (
            self.why(Password(b"carol", b"a"))[1] == "'Carol' is known; capitals matter unless names.case is \"lower\""
        )

    def test_a_secret_that_cannot_serve(self) -> None:
        assert self.why(Password(b"broken", b"x")) == ("the scheme NONE is not supported", "")

    def test_who_is_kept_out_and_why(self) -> None:
        shut = "nologin denies the login (reason='Unpaid')"
        assert self.why(Password(b"shut", b"x")) == (shut, "")
        assert self.why(VerifiedIdentity(b"shut")) == (shut, "")
        assert self.why(Password(b"far", b"x")) == ("not from this address", "allow_nets of 'far' is 192.0.2.0/24")
        assert self.why(Password(b"later", b"x")) == ("delay_until denies the login for now", "")

    def test_a_delay_is_over_when_its_time_has_come(self) -> None:
        path = Path(self.mktemp())
        path.write_bytes(LINES)
        checker = PasswordFile(str(path), wall=lambda: 4102444800.0)
        self.successResultOf(checker.start(reactor))
        self.addCleanup(checker.stop)
        portal = make_portal(MailboxRealm(Store(), [checker]), [checker])
        self.successResultOf(portal.login(Password(b"later", b"x"), MIND, IMaildrop))

    def test_a_mechanism_that_the_secret_cannot_do(self) -> None:
        for credentials in (
            CramMd5(b"hashed", b"<1@h>", b"0" * 32),
            Apop(b"<1@h>", b"hashed", b"0" * 32),
            Unproven(b"hashed", mechanism=b"SCRAM-SHA-1"),
        ):
            reason, hint = self.why(credentials)
            assert reason.endswith(" cannot be verified with {SSHA}")
            assert "USER and PASS" in hint
        assert self.why(CramMd5(b"public", b"<1@h>", b"0" * 32))[0] == "CRAM-MD5 cannot be verified with no secret"
        assert self.why(CramMd5(b"alice", b"<1@h>", b"0" * 32)) == ("wrong password", "")
        assert self.why(Unproven(b"alice", mechanism=b"SCRAM-SHA-1")) == ("wrong password", "")
        assert self.why(Unproven(b"nobody", mechanism=b"SCRAM-SHA-1"))[0] == "unknown user"

    def test_an_exchange_may_know_the_reason_itself(self) -> None:
        assert self.why(Unproven(b"alice", "the token is not good")) == ("the token is not good", "")
        assert self.why(Unproven(b"../x")) == ("no user can have such a name", "")

    def test_names_and_passwords_that_cannot_be(self) -> None:
        assert self.why(Password(b"../x", b"x"))[0] == "no user can have such a name"
        assert self.why(Password(b"alice", b"x\0"))[0] == "the password is too long, or contains a NUL"

    def test_who_may_not_act_for_another(self) -> None:
        acting = ActingFor(Password(b"alice", b"a"), b"hashed")
        assert self.why(acting)[0] == "no checker takes such credentials"
        assert self.why(acting, masters=("boss",))[0] == "the user may not act for another"
        stranger = ActingFor(Password(b"alice", b"a"), b"nobody")
        assert self.why(stranger, masters=("alice",))[0] == "the user to act for has no account"

    def test_of_two_checkers_the_one_that_knows_him_tells(self) -> None:
        other = self.checker(b"bob:{PLAIN}b\n")
        assert self.why(Password(b"bob", b"x"), self.checker(), other) == ("wrong password", "")
        assert self.why(Password(b"nobody", b"x"), self.checker(), other) == ("unknown user", "")

    def test_of_a_checker_that_says_nothing_it_is_told_that_it_said_no(self) -> None:
        silent = Answers(UnauthorizedLogin())
        assert self.why(Password(b"nobody", b"x"), self.checker(), silent)[0] == (
            "Answers refused without a reason; unknown user"
        )
        assert self.why(Password(b"alice", b"x"), self.checker(), silent)[0] == "wrong password"

    def test_of_an_account_s_user_it_is_his_own_line_or_the_account_s(self) -> None:
        accounts = {"vision25": "vision25.example.org"}
        lines = b"vision25:{PLAIN}a\nann@vision25:{SSHA}x\n"
        asked = Accounts(Names(accounts=accounts), [self.checker(lines, accounts=accounts)])
        assert self.why(Password(b"john@vision25", b"x"), asked) == ("wrong password", "")
        assert self.why(Unproven(b"john@vision25", mechanism=b"SCRAM-SHA-1"), asked) == ("wrong password", "")
        assert "SSHA" in self.why(Unproven(b"ann@vision25", mechanism=b"SCRAM-SHA-1"), asked)[0]


@pytest.mark.parametrize(
    ("refusals", "reason", "known"),
    [
        ([], "no checker takes such credentials", False),
        ([LoginRefused("a", known=False), LoginRefused("b", known=False)], "a; b", False),
        ([LoginRefused("a", known=False), LoginRefused("b", known=None)], "b; a", None),
        ([LoginRefused("a", known=False), LoginRefused("b"), LoginRefused("c", known=None)], "b", True),
        ([LoginRefused("a"), LoginRefused("a")], "a", True),
    ],
)
def test_reasons_are_put_together_truthfully(refusals: list[LoginRefused], reason: str, known: bool | None) -> None:
    told = first_reason(refusals)
    assert (told.reason, told.known) == (reason, known)


def test_what_says_nothing_has_no_reason() -> None:
    assert login_refused(UnauthorizedLogin()).reason == "refused without a reason"
    assert not str(LoginRefused("secret"))
