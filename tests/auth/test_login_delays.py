"""The realm and the login delay: what is refused, and what begins a delay."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from mailserver.answers import ask
from mailserver.auth import MailboxRealm
from mailserver.auth.identities import Acting
from mailserver.errors import LoginTooSoon, MaildropInUse
from mailserver.interfaces import IMaildrop, Mind, User
from mailserver.net.delays import Delays
from tests.auth.kerberos.realms import Store
from tests.auth.test_portal import Knows

MIND = Mind("192.0.2.1", tls=True, listener="pop3s")


class Slow(Store):
    """A store that answers when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.answer: Deferred[Any] = Deferred()

    def open(self, user: User, owner: str) -> Deferred[Any]:
        return self.answer


class House:
    """A realm over a store, and logins at it."""

    def __init__(self, store: Store | None = None, user: User | None = None) -> None:
        self.store = store or Store()
        self.clock = Clock()
        self.delays = Delays(self.clock, 60)
        self.realm = MailboxRealm(self.store, [Knows(user or User("alice"), User("root"))], self.delays)

    def log_in(self, avatar_id: Any = b"alice") -> Any:
        """The interface of the avatar; or the login's error, raised."""
        answers: list[Any] = []
        asked: Deferred[Any] = self.realm.requestAvatar(avatar_id, MIND, IMaildrop)
        asked.addBoth(answers.append)
        if not isinstance(answers[0], tuple):
            answers[0].raiseException()
        return answers[0][0]


def test_the_next_login_is_refused_with_the_seconds_that_are_left_and_opens_nothing() -> None:
    house = House()
    house.log_in()
    house.clock.advance(20.5)
    with pytest.raises(LoginTooSoon) as caught:
        house.log_in()
    assert caught.value.line == b"[LOGIN-DELAY] you have logged in a short time ago, please try again in 40 seconds"
    assert len(house.store.opened) == 1
    house.clock.advance(39.5)
    assert house.log_in() is IMaildrop


def test_it_is_raised_at_once_for_those_who_ask_so() -> None:
    house = House()
    house.log_in()
    user = User("alice")
    with pytest.raises(LoginTooSoon):
        ask(house.realm.requestAvatar, house.realm._users.identify("alice", user), MIND, IMaildrop)


def test_a_login_that_opened_no_maildrop_begins_no_delay() -> None:
    house = House()
    house.store._trouble = MaildropInUse("pid 1")
    for _ in range(2):
        with pytest.raises(MaildropInUse):
            house.log_in()
    house.store._trouble = None
    assert house.log_in() is IMaildrop


def test_nor_does_one_whose_client_has_left_meanwhile() -> None:
    house = House(store := Slow())
    asked = house.realm.requestAvatar(b"alice", MIND, IMaildrop)
    asked.addErrback(lambda failure: failure.trap(CancelledError))
    asked.cancel()
    assert store.answer.called
    assert house.delays.begin(User("alice")) == 0


def test_of_two_at_once_only_one_is_let_in() -> None:
    house = House(store := Slow())
    first = house.realm.requestAvatar(b"alice", MIND, IMaildrop)
    with pytest.raises(LoginTooSoon):
        house.log_in()
    answers: list[Any] = []
    first.addErrback(answers.append)
    assert answers == []
    store.answer.cancel()
    assert [failure.type for failure in answers] == [CancelledError]


def test_who_may_not_log_in_hears_nothing_of_delays() -> None:
    house = House(user=User("alice", networks=(ip_network("198.51.100.0/24"),)))
    for _ in range(2):
        with pytest.raises(UnauthorizedLogin):
            house.log_in()
    assert house.delays.begin(User("alice")) == 0


def test_a_master_s_login_for_a_user_neither_waits_nor_begins_a_delay() -> None:
    house = House()
    acting = Acting("alice", "root")
    house.log_in()
    assert house.log_in(acting) is IMaildrop
    house.clock.advance(60)
    assert house.log_in(acting) is IMaildrop
    assert house.log_in() is IMaildrop
