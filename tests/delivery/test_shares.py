"""Whose share a delivered message is in, and what *ENV says of it: for every address that the wire allows."""

from __future__ import annotations

from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import capturedLogs

from mailserver.delivery.deliver import Deliveries
from mailserver.interfaces import Account, User
from mailserver.limits import Delivery, QuotaRules
from mailserver.names import Names
from mailserver.store import MemoryStore, SharedStore
from tests.delivery.room import NOW, SENDER, Hosts
from tests.delivery.test_trace import DOT_STRINGS, QUOTED, WIRE, received, same
from tests.protocol.oracle import thorough

DOMAIN = "vision25.example.org"
SITES = [
    Names(accounts={"vision25": DOMAIN}),
    Names(accounts={"vision25": DOMAIN}, tag_separators="+~", at_signs="%", local_domains=("example.org",)),
    Names(accounts={"vision25": ""}, default_domain="vision25"),
]


def now(answer: Any) -> Any:
    """What a Deferred that needs no reactor answers."""
    answers: list[Any] = []
    answer.addBoth(answers.append)
    (found,) = answers
    return found


class Given:
    """A message to one address, delivered into an account and fetched from a share."""

    def __init__(self, naming: Names) -> None:
        self.naming = naming
        self.store = SharedStore(MemoryStore(), naming)
        self.users = Hosts(naming)
        self.deliveries = Deliveries(
            self.store, self.users, naming, "h", delivery=Delivery(), quota=QuotaRules(), wall=lambda: NOW
        )

    def deliver(self, path: bytes, *addresses: bytes) -> None:
        with capturedLogs():
            delivery = self.deliveries.begin(SENDER._replace(path=path, protocol=b"UTF8LMTP"))
            for address in addresses:
                now(delivery.recipient(address))
            delivery.write(b"Delivered-To: forged@vision25.example.org\r\n\r\n")
            assert now(delivery.commit()) == [None] * len(addresses)

    def fetched(self, user: User) -> list[tuple[bytes, bytes]]:
        """Sender and recipient of each message of a share, as *ENV names them."""
        maildrop = now(self.store.open(user, "a test"))
        found = [now(maybeDeferred(maildrop.envelope, number + 1)) for number in range(len(maildrop.messages))]
        maildrop.release()
        return [(each.sender, each.recipients[0]) for each in found]


LOCALS = (DOT_STRINGS | QUOTED).map(str.encode)


@settings(thorough, max_examples=200)
@given(st.sampled_from(SITES), st.just(b"") | WIRE.map(received), LOCALS)
def test_each_user_of_an_account_finds_the_own_mail_with_its_sender_and_recipient(
    naming: Names, path: bytes, local: bytes
) -> None:
    address = received(b"%b@%b" % (local, (naming.accounts["vision25"] or "vision25").encode()))
    user = _found(naming, address)
    assume(user is not None)  # an address can be nobody's: one with a slash (docs/names.md)
    given = Given(naming)
    given.deliver(path, address)
    for opened in user, User("vision25", account=Account(DOMAIN)):
        ((sender, recipient),) = given.fetched(opened)
        assert same(sender, path)
        assert recipient == address  # nobody's name begins with a dot
    others = User("vision25", account=Account(DOMAIN, "somebody-else"))
    assert given.fetched(others) == []


def _found(naming: Names, address: bytes) -> Any:
    recipients = Given(naming).deliveries._room.recipients
    with capturedLogs():
        found: Deferred[Any] = recipients.find(address)
        answers: list[Any] = []
        found.addCallbacks(answers.extend, lambda _: None)
    return answers[0].user if answers else None


def test_a_message_for_two_users_of_an_account_is_once_in_each_share() -> None:
    given = Given(SITES[0])
    given.deliver(b"eve@example.net", b"john@vision25.example.org", b"mary@vision25")
    for name, address in ("john", b"john@vision25.example.org"), ("mary", b"mary@vision25"):
        assert given.fetched(User("vision25", account=Account(DOMAIN, name))) == [(b"eve@example.net", address)]
    assert len(given.fetched(User("vision25", account=Account(DOMAIN)))) == 2
