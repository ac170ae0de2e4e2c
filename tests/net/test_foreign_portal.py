"""Logins at portals that somebody else wrote."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.mail.interfaces import IMailboxPOP3
from zope.interface import implementer

from mailserver.errors import MaildropInUse, MaildropUnavailable, PermanentFailure
from mailserver.interfaces import IMaildrop, Mind
from tests.net.sessions import LOGIN, Maildrop, Talk, make_factory

FAILED = b"-ERR [AUTH] authentication failed\r\n"
TEMPORARY = b"-ERR [SYS/TEMP] temporary failure, please try again later\r\n"


@implementer(IMailboxPOP3)
class Mailbox:
    def __init__(self, sizes: Any = (6,)) -> None:
        self.sizes = sizes
        self.calls: list[object] = []

    def listMessages(self, index: int | None = None) -> Any:
        if isinstance(self.sizes, Exception):
            raise self.sizes
        return self.sizes

    def getUidl(self, index: int) -> bytes:
        return b"u%d" % index

    def getMessage(self, index: int) -> io.BytesIO:
        return io.BytesIO(b".dot\r\n")

    def deleteMessage(self, index: int) -> None:
        self.calls.append(index)

    def undeleteMessages(self) -> None:
        self.calls.append("undelete")

    def sync(self) -> None:
        self.calls.append("sync")


@implementer(IRealm)
class ForeignRealm:
    def __init__(self, avatar: Callable[[], Any]) -> None:
        self.avatar = avatar
        self.logouts = 0
        self.asked: list[Any] = []

    def requestAvatar(self, avatar_id: object, mind: object, *interfaces: object) -> Any:
        self.asked.append((avatar_id, mind, interfaces))
        return self.avatar()

    def logout(self) -> None:
        self.logouts += 1


class Login:
    """A session over a foreign realm."""

    def __init__(self, avatar: Callable[[ForeignRealm], Any], **options: Any) -> None:
        self.realm = ForeignRealm(lambda: avatar(self.realm))
        checker = InMemoryUsernamePasswordDatabaseDontUse(alice=b"secret")
        self.talk = Talk(make_factory(portal=Portal(self.realm, [checker]), clock=Clock(), **options), logged_in=False)
        self.talk.heard()

    def answer(self, data: bytes = LOGIN) -> bytes:
        self.talk.say(data)
        return self.talk.heard().partition(b"\r\n")[2]


def sessions(events: list[dict[str, Any]]) -> int:
    return sum(event.get("event") == "pop3.session" for event in events)


def test_a_mailbox_of_twisted_mail_is_served() -> None:
    mailbox = Mailbox()
    login = Login(lambda realm: (IMailboxPOP3, mailbox, realm.logout))
    assert login.answer() == b"+OK maildrop has 1 messages (6 octets)\r\n"
    login.talk.say(b"RETR 1\r\nDELE 1\r\nQUIT\r\n")
    assert login.talk.heard() == b"+OK 6 octets\r\n..dot\r\n.\r\n+OK message 1 deleted\r\n+OK signing off\r\n"
    assert mailbox.calls == [0, "sync"]
    login.talk.lose()
    assert login.realm.logouts == 1
    assert login.realm.asked == [(b"alice", Mind("", False, "pop3"), (IMaildrop, IMailboxPOP3))]


def test_dele_without_quit_deletes_nothing_from_a_mailbox() -> None:
    mailbox = Mailbox()
    login = Login(lambda realm: (IMailboxPOP3, mailbox, realm.logout))
    login.answer()
    login.talk.say(b"DELE 1\r\n")
    login.talk.lose()
    assert (mailbox.calls, login.realm.logouts) == ([], 1)


def test_an_avatar_that_cannot_be_adapted_is_logged_out_at_once(events: list[dict[str, Any]]) -> None:
    mailbox = Mailbox(ValueError("/home/alice"))
    login = Login(lambda realm: (IMailboxPOP3, mailbox, realm.logout))
    assert login.answer() == TEMPORARY
    assert login.realm.logouts == 1
    mailbox.sizes = (6,)
    assert login.answer() == b"+OK maildrop has 1 messages (6 octets)\r\n"
    login.talk.lose()
    assert login.realm.logouts == 2
    assert sessions(events) == 1


@pytest.mark.parametrize(
    ("error", "reply"),
    [
        (UnauthorizedLogin("alice"), FAILED),
        (MaildropInUse("held by /home/alice"), b"-ERR [IN-USE] maildrop is in use by another session\r\n"),
        (MaildropUnavailable("/home/alice: permission denied"), TEMPORARY),
        (PermanentFailure(), b"-ERR [SYS/PERM] the maildrop needs the attention of its operator\r\n"),
        (RuntimeError("/home/alice"), TEMPORARY),
    ],
)
@pytest.mark.parametrize("late", [False, True])
def test_an_error_is_told_without_its_text(error: Exception, reply: bytes, late: bool) -> None:
    def refuse(realm: ForeignRealm) -> Any:
        if late:
            return fail(error)
        raise error

    login = Login(refuse)
    login.talk.say(LOGIN)
    login.talk.clock.advance(2)
    assert login.talk.heard().partition(b"\r\n")[2] == reply
    assert not login.talk.closed


def test_a_maildrop_in_use_is_routine_and_other_trouble_is_a_warning(events: list[dict[str, Any]]) -> None:
    for error in (MaildropInUse("held by pid 1"), MaildropUnavailable("no disk")):
        Login(lambda realm, error=error: fail(error)).answer()
    told = [(each["log_level"].name, each["reason"]) for each in events if each.get("event") == "store"]
    assert told == [("info", "held by pid 1"), ("warn", "no disk")]


def test_a_fault_is_logged_with_its_failure(events: list[dict[str, Any]]) -> None:
    Login(lambda realm: fail(RuntimeError("broken"))).answer()
    (told,) = [each for each in events if each.get("event") == "fault"]
    assert told["log_failure"].check(RuntimeError)


def test_a_login_that_is_never_answered_ends_with_the_login_time() -> None:
    login = Login(lambda realm: Deferred())
    assert login.answer() == b""
    login.talk.clock.pump([5] * 35)
    assert not login.talk.closed
    login.talk.clock.pump([5] * 2)
    assert login.talk.wire.disconnected


@pytest.mark.parametrize("interface", [IMaildrop, IMailboxPOP3])
def test_a_login_answered_after_the_client_has_gone_is_logged_out_once(
    interface: Any, events: list[dict[str, Any]]
) -> None:
    answer: Deferred[Any] = Deferred()
    login = Login(lambda realm: answer)
    login.answer()
    login.talk.lose()
    avatar = Maildrop([b"a"]) if interface is IMaildrop else Mailbox()
    answer.callback((interface, avatar, login.realm.logout))
    assert login.realm.logouts == 1
    assert sessions(events) == 0  # it never began


def test_a_client_that_goes_while_its_mailbox_is_listed_is_logged_out_once(events: list[dict[str, Any]]) -> None:
    listing: Deferred[Any] = Deferred()
    login = Login(lambda realm: (IMailboxPOP3, Mailbox(listing), realm.logout))
    login.answer()
    login.talk.lose()
    listing.callback([6])
    assert login.realm.logouts == 1


def test_a_mailbox_that_fails_after_the_client_has_gone_is_logged_out_once() -> None:
    answer: Deferred[Any] = Deferred()
    login = Login(lambda realm: answer)
    login.answer()
    login.talk.lose()
    answer.callback((IMailboxPOP3, Mailbox(RuntimeError("x")), login.realm.logout))
    assert login.realm.logouts == 1


def test_a_login_refused_after_the_client_has_gone_starts_no_timer() -> None:
    answer: Deferred[Any] = Deferred()
    login = Login(lambda realm: answer)
    login.answer()
    login.talk.lose()
    answer.errback(UnauthorizedLogin())
    assert not login.talk.server._later


def test_a_portal_without_a_checker_for_it_refuses() -> None:
    realm = ForeignRealm(lambda: None)
    talk = Talk(make_factory(portal=Portal(realm, [])), logged_in=False)
    talk.heard()
    talk.say(b"USER alice\r\nCAPA\r\n")
    assert b"USER" not in talk.heard()


def test_a_logout_that_fails_does_not_hide_the_session(events: list[dict[str, Any]]) -> None:
    def broken() -> None:
        raise RuntimeError("logout")

    login = Login(lambda realm: (IMaildrop, Maildrop(()), broken))
    login.answer()
    login.talk.lose()
    assert sessions(events) == 1
    assert [str(each["log_failure"].value) for each in events if each.get("event") == "fault"] == ["logout"]
    assert login.talk.server not in login.talk.factory._connections


def test_a_commit_that_raises_leaves_nothing_locked() -> None:
    maildrop = Maildrop(())

    def broken() -> Any:
        raise RuntimeError("/home/alice")

    maildrop.commits = broken
    login = Login(lambda realm: (IMaildrop, maildrop, realm.logout))
    login.answer()
    login.talk.say(b"QUIT\r\n")
    assert login.talk.heard() == TEMPORARY
    login.talk.lose()
    assert login.realm.logouts == 1
