"""Nothing is removed without QUIT, whatever the store does with what is deleted."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from mailserver.auth import MailboxRealm
from mailserver.interfaces import IUsers, User
from mailserver.store import MemoryStore
from mailserver.store.deleting import read_deleting
from tests.net.sessions import Talk, make_factory

MESSAGES = [b"Subject: %d\r\n\r\nbody\r\n" % number for number in range(1, 4)]
COMMANDS = [
    b"RETR 1",
    b"RETR 2",
    b"TOP 3 1",
    b"DELE 1",
    b"DELE 3",
    b"RSET",
    b"STAT",
    b"LIST",
    b"UIDL",
    b"CAPA",
    b"QUIT ",
]
SESSIONS = st.lists(st.sampled_from(COMMANDS), max_size=8)
DELETES = st.sampled_from(["expunge", "trash", "keep 7 days"])
DAYS = st.sampled_from([None, 0, 9])


@implementer(IUsers)
class Alice:
    def __init__(self, days: int | None) -> None:
        self.days = days

    def lookup(self, name: str) -> Deferred[User | None]:
        return succeed(User(name, expire_days=self.days))


def begun(delete: str, days: int | None) -> tuple[MemoryStore, Talk]:
    store = MemoryStore({"alice": MESSAGES}, deleting=read_deleting(delete))
    checker = InMemoryUsernamePasswordDatabaseDontUse(alice=b"secret")
    return store, Talk(make_factory(portal=Portal(MailboxRealm(store, [Alice(days)]), [checker])))


def left(store: MemoryStore) -> list[bytes]:
    return list(store.maildrop("alice").values())


def kept(store: MemoryStore) -> int:
    answer: list[Any] = []
    store.kept(User("alice")).addCallback(answer.append)
    return int(answer[0])


@settings(max_examples=100)
@given(SESSIONS, DELETES, DAYS, st.integers(0, 5))
def test_a_session_that_is_lost_has_removed_nothing(
    commands: list[bytes], delete: str, days: int | None, cut: int
) -> None:
    store, talk = begun(delete, days)
    said = b"".join(command.strip() + b"\r\n" for command in commands if command != b"QUIT ")
    talk.say(said + b"QUIT\r\n"[:cut])  # the line of QUIT does not end
    talk.lose()
    assert left(store) == MESSAGES
    assert store.trash("alice") == []
    assert kept(store) == 0


@settings(max_examples=100)
@given(SESSIONS, DELETES, DAYS)
def test_quit_puts_each_message_where_it_belongs(commands: list[bytes], delete: str, days: int | None) -> None:
    store, talk = begun(delete, days)
    gone: set[int] = set()
    for command in commands:
        talk.say(command.strip() + b"\r\n")
        verb, _, number = command.partition(b" ")
        good = talk.turns().startswith(b"+OK")
        if command == b"QUIT ":
            break
        if command == b"RSET":
            gone.clear()
        elif good and (verb == b"DELE" or (verb == b"RETR" and days == 0)):
            gone.add(int(number))
    else:
        talk.say(b"QUIT\r\n")
    talk.lose()
    deleted = [MESSAGES[number - 1] for number in sorted(gone)]
    assert left(store) == [message for message in MESSAGES if message not in deleted]
    assert store.trash("alice") == (deleted if delete == "trash" else [])
    assert kept(store) == (len(deleted) if delete in ("trash", "keep 7 days") else 0)
