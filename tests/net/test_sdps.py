"""Names as they are read, and envelopes as they are told, on the wire."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred, fail, succeed
from twisted.mail.interfaces import IMailboxPOP3
from zope.interface import implementer

from mailserver.credentials import (
    ActingFor,
    Apop,
    KerberosIdentity,
    Password,
    Unproven,
    VerifiedIdentity,
    renamed,
)
from mailserver.envelope import Envelope
from mailserver.errors import MessageGone, MessageTruncated
from mailserver.exchange import VerifierOf
from mailserver.interfaces import Census, IOracle
from mailserver.names import Names
from mailserver.net.stamp import stamp_host
from tests.net.sessions import Maildrop, Realm, Talk, make_factory
from tests.net.test_foreign_portal import ForeignRealm, Mailbox

NAMES = Names(accounts={"vision25": "vision25.example.org"}, case="lower")
MAIL = b"Return-Path: <env@example.org>\nDelivered-To: bob@x.example\n\nbody\n"
TOLD = b"+OK envelope follows\r\n%b\r\n-\r\n%b\r\n%b\r\n.\r\n"
FAILED = b"-ERR [AUTH] authentication failed\r\n"


def talk(maildrop: Any = None, **options: Any) -> Talk:
    maildrop = maildrop or Maildrop([MAIL, b"Subject: x\n\n"])
    users = InMemoryUsernamePasswordDatabaseDontUse(**{"john@vision25": b"secret", "alice": b"secret"})
    return Talk(
        make_factory(**{"portal": Portal(Realm(maildrop), [users]), "names": NAMES, **options}), logged_in=False
    )


def said(talk: Talk, data: bytes) -> bytes:
    talk.heard()
    talk.say(data)
    return talk.heard()


@pytest.mark.parametrize("name", [b"john@vision25", b"John+VISION25", b"john@vision25.example.org"])
def test_the_portal_and_the_log_see_the_canonical_name(name: bytes, events: list[dict[str, Any]]) -> None:
    client = talk()
    assert said(client, b"USER %b\r\nPASS secret\r\n" % name).endswith(b"+OK maildrop has 2 messages (83 octets)\r\n")
    client.lose()
    assert [event["user"] for event in events if event.get("event") == "pop3.session"] == ["john@vision25"]


def test_without_rules_a_name_is_what_was_typed() -> None:
    client = talk(names=None)
    assert said(client, b"USER john+vision25\r\nPASS secret\r\n") == b"+OK send PASS\r\n" + FAILED
    assert said(talk(names=None), b"CAPA\r\n").count(b"X-SDPS") == 0
    client = talk(names=None)
    said(client, b"USER alice\r\nPASS secret\r\n")
    assert said(client, b"*ENV 1\r\n") == b"-ERR unknown command\r\n"


def test_what_is_nobody_s_name_is_refused_and_counted_as_a_wrong_password() -> None:
    client = talk()
    assert said(client, b"USER ../john\r\nPASS secret\r\n") == b"+OK send PASS\r\n" + FAILED
    assert said(client, b"USER ../john\r\nPASS secret\r\n") == b"+OK send PASS\r\n"
    client.clock.advance(2)
    assert client.heard() == FAILED


def test_failures_count_for_the_account_whichever_of_its_users_is_guessed() -> None:
    client = talk()
    assert said(client, b"USER a@vision25\r\nPASS x\r\n").endswith(FAILED)
    for seconds, user in ((2, b"b"), (4, b"c")):
        assert said(client, b"USER %b@vision25\r\nPASS x\r\n" % user) == b"+OK send PASS\r\n"
        client.clock.advance(seconds - 0.1)
        assert client.heard() == b""
        client.clock.advance(0.1)
        assert client.heard() == FAILED


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (Password(b"John+vision25", b"p"), Password(b"john@vision25", b"p")),
        (Apop(b"<1@h>", b"JOHN", b"d"), Apop(b"<1@h>", b"john", b"d")),
        (VerifiedIdentity(b"John"), VerifiedIdentity(b"john")),
        (
            ActingFor(VerifiedIdentity(b"Root"), b"John+vision25"),
            ActingFor(VerifiedIdentity(b"root"), b"john@vision25"),
        ),
        (ActingFor(VerifiedIdentity(b"john@vision25"), b"John+vision25"), VerifiedIdentity(b"john@vision25")),
        (ActingFor(Password(b"Root", b"p"), b"root"), Password(b"root", b"p")),
        (ActingFor(VerifiedIdentity(b"root"), b"a/b"), Unproven(b"root")),
        (ActingFor(VerifiedIdentity(b"a/b"), b"john"), Unproven(b"a/b")),
        (KerberosIdentity("john@R", b""), KerberosIdentity("john@R", b"")),
        (KerberosIdentity("john@R", b"John"), KerberosIdentity("john@R", b"john")),
        (Password(b"\xff", b"p"), Unproven(b"\xff")),
    ],
)
def test_credentials_change_their_names_and_nothing_else(given: Any, expected: Any) -> None:
    assert renamed(given, NAMES.read) == expected


def test_the_oracle_is_asked_by_the_canonical_name_and_told_the_typed_one() -> None:
    @implementer(IOracle)
    class Oracle:
        def mechanisms(self) -> frozenset[bytes]:
            return frozenset()

        def census(self) -> Census:
            return Census()

        def ask(self, request: object) -> Deferred[object]:
            return succeed(request)

    def asked(name: bytes) -> Any:
        found: list[Any] = []
        factory.door.ask(VerifierOf(name, b"X")).addCallback(found.append)
        return found[0]

    factory = make_factory(names=NAMES, oracle=Oracle())
    assert asked(b"John+vision25") == VerifierOf(b"john@vision25", b"X", b"", b"John+vision25")
    assert asked(b"../x") == VerifierOf(b"../x", b"X")
    factory = make_factory(oracle=Oracle())
    assert asked(b"John+vision25") == VerifierOf(b"John+vision25", b"X")


def logged_in(maildrop: Any = None, **options: Any) -> Talk:
    client = talk(maildrop, **options)
    said(client, b"USER alice\r\nPASS secret\r\n")
    return client


def test_envelopes_are_told_one_after_the_other() -> None:
    client = logged_in()
    assert said(client, b"*ENV 1\r\n*ENV 2\r\nNOOP\r\n") == (
        TOLD % (b"alice", b"env@example.org", b"bob@x.example") + TOLD % (b"alice", b"", b"alice@h") + b"+OK\r\n"
    )


def test_an_envelope_may_come_later() -> None:
    later: Deferred[Envelope] = Deferred()
    client = logged_in(maildrop := Maildrop([MAIL]))
    maildrop.envelope = lambda number: later  # type: ignore[method-assign]
    assert said(client, b"*ENV 1\r\nNOOP\r\n") == b""
    later.callback(Envelope(b"a@b", (b"c@d",), b"account", b"-"))
    assert client.heard() == TOLD % (b"account", b"a@b", b"c@d") + b"+OK\r\n"


@pytest.mark.parametrize("late", [True, False])
def test_a_message_that_is_gone_has_an_envelope_all_the_same(late: bool) -> None:
    def gone(number: int) -> Any:
        if late:
            return fail(MessageGone("gone"))
        raise MessageGone("gone")

    client = logged_in(maildrop := Maildrop([MAIL]))
    maildrop.envelope = gone  # type: ignore[method-assign]
    assert said(client, b"*ENV 1\r\nNOOP\r\n") == TOLD % (b"alice", b"", b"alice@h") + b"+OK\r\n"


def test_an_envelope_that_cannot_be_read_ends_the_session() -> None:
    client = logged_in(maildrop := Maildrop([MAIL]))
    maildrop.envelope = lambda number: fail(MessageTruncated("disk"))  # type: ignore[method-assign]
    answer = said(client, b"*ENV 1\r\nNOOP\r\n")
    assert answer == b"-ERR [SYS/TEMP] temporary failure, please try again later\r\n"
    assert client.wire.disconnecting


def test_an_answer_that_comes_after_the_client_has_gone_harms_nobody() -> None:
    for outcome in (Envelope(), MessageTruncated("disk"), MessageGone("gone")):
        later: Deferred[Envelope] = Deferred()
        client = logged_in(maildrop := Maildrop([MAIL]))
        maildrop.envelope = lambda number, later=later: later  # type: ignore[method-assign, misc]
        said(client, b"*ENV 1\r\n")
        client.lose()
        assert maildrop.told == ["release"]
        later.callback(outcome) if isinstance(outcome, Envelope) else later.errback(outcome)
        assert maildrop.told == ["release"]


def test_mailboxes_of_others_tell_envelopes() -> None:
    realm = ForeignRealm(lambda: (IMailboxPOP3, Mailbox(), lambda: None))
    users = InMemoryUsernamePasswordDatabaseDontUse(alice=b"secret")
    client = talk(portal=Portal(realm, [users]))  # type: ignore[arg-type]
    said(client, b"USER alice\r\nPASS secret\r\n")
    assert said(client, b"*ENV 1\r\n") == TOLD % (b"alice", b"", b"alice@h")


@pytest.mark.parametrize(
    ("host", "greeted"),
    [("mail.example.org", b"mail.example.org"), ("pop3.demon.co.uk", b"pop3.demon-co.uk"), ("DEMON.net", b"DEMON-net")],
)
def test_no_host_greets_as_demon_s_by_accident(host: str, greeted: bytes) -> None:
    assert stamp_host(host) == greeted


def test_a_site_may_greet_as_demon_s() -> None:
    client = talk(greeting="pop3.demon.co.uk")
    assert client.wire.value() == b"+OK pop3.demon.co.uk h POP3 server ready\r\n"
