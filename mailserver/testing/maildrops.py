"""Maildrops that a test fills and looks into, and the store that the server opens them by."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from email.message import Message as EmailMessage
from typing import Any

from twisted.internet.defer import Deferred, fail
from zope.interface import implementer

from mailserver.envelope import Envelope
from mailserver.forwarding import Forwarding
from mailserver.interfaces import IBody, IMaildrop, IStore, User
from mailserver.snapshot import Snapshot
from mailserver.store.memory import MemoryStore
from mailserver.testing.faults import Faults

Content = bytes | str | EmailMessage
"""A message as a test gives it: octets with any line ends, text, or one of the standard library's."""


class Message:
    """A message in a maildrop. What the server tells of it may be changed, and counts from the next login."""

    def __init__(self, content: bytes, uidl: str, octets: int | None = None) -> None:
        self.content = content
        """As it was given; the server sends it with the line ends of the wire."""
        self.uidl = uidl
        """The unique-id that UIDL tells: whatever it is here, even where it is another's or no valid one."""
        self.octets = octets
        """The octets that STAT, LIST and RETR tell; None: the true ones."""

    def __repr__(self) -> str:
        return f"<Message {self.uidl!r}, {len(self.content)} octets>"


class Maildrop:
    """A user with password and messages. All of it may be changed at any time, from any thread."""

    def __init__(self, name: str, password: str, token: str, call: Callable[..., Any]) -> None:
        self.name = name
        self.password = password
        """The password, in clear; a change counts from the next login."""
        self.token = token
        """The bearer token for SASL OAUTHBEARER and XOAUTH2; "": none."""
        self._call = call
        self._store = MemoryStore()
        self._told: dict[bytes, Message] = {}

    def __repr__(self) -> str:
        return f"<Maildrop {self.name!r}, {len(self.messages)} messages>"

    def add(self, message: Content, *, uidl: str = "", octets: int | None = None) -> Message:
        """Deliver a message to the end, as a mail server would: a session that is open does not see it.

        `uidl` and `octets` are what the server tells of it, in place of a unique-id of its own and the true octets.
        """
        content = _octets(message)
        return self._call(self._add, content, uidl, octets)  # type: ignore[no-any-return]  # what `_add` returns

    @property
    def messages(self) -> list[Message]:
        """The messages that are there now; what a client has deleted is there until its QUIT."""
        stored = list(self._store.maildrop(self.name))
        # One that another thread adds right now may be in the first only.
        return [self._told[key] for key in stored if key in self._told]

    @property
    def contents(self) -> list[bytes]:
        """What these messages are."""
        return [each.content for each in self.messages]

    def clear(self) -> None:
        """Remove all messages, as another program does: a session that is open finds them gone."""
        self._call(self._store.maildrop(self.name).clear)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Hold the maildrop meanwhile, as another session would: logins are refused with [IN-USE]."""
        held = self._call(self._store.open, User(self.name), "a test")
        try:
            yield
        finally:
            self._call(held.release)

    def open(self, owner: str) -> Deferred[IMaildrop]:
        """For the server: lock the maildrop, and list what it tells of the messages. Errors: MaildropInUse."""
        return self._store.open(User(self.name), owner).addCallback(self._listed)

    def _listed(self, maildrop: IMaildrop) -> IMaildrop:
        messages = maildrop.messages
        told = [self._told[key] for key in messages.uidls]
        uidls = [each.uidl.encode("utf-8") for each in told]
        octets = [
            true if each.octets is None else each.octets for each, true in zip(told, messages.octets, strict=True)
        ]
        return _Told(maildrop, Snapshot(uidls, octets, messages.wire, messages.arrivals))

    def _add(self, content: bytes, uidl: str, octets: int | None) -> Message:
        key = self._store.add(self.name, content)
        made = self._told[key] = Message(content, uidl or key.decode("ascii"), octets)
        return made


class Maildrops(Forwarding):
    """The store of a server: the maildrops of its users, and a store for whomever else a checker lets in."""

    def __init__(self, store: IStore, faults: Faults) -> None:
        super().__init__(store)
        self.users: dict[str, Maildrop] = {}
        self._faults = faults

    def put_before(self, store: IStore) -> None:
        """Have another store for the others from now on."""
        self._store = store

    def open(self, user: User, owner: str) -> Deferred[IMaildrop]:
        """As IStore, unless a test wants another outcome."""
        error = self._faults.take_login()
        if error is not None:
            return fail(error)
        maildrop = self.users.get(user.name)
        return self._store.open(user, owner) if maildrop is None else maildrop.open(owner)


def _octets(message: Content) -> bytes:
    if isinstance(message, EmailMessage):
        return message.as_bytes()
    return message.encode("utf-8") if isinstance(message, str) else message


@implementer(IMaildrop)
class _Told:
    """A maildrop of which the client is told something else than what is so."""

    def __init__(self, maildrop: IMaildrop, messages: Snapshot) -> None:
        self._maildrop = maildrop
        self.messages = messages

    def fetch(self, number: int) -> IBody | Deferred[IBody]:
        return self._maildrop.fetch(number)

    def envelope(self, number: int) -> Envelope | Deferred[Envelope]:
        return self._maildrop.envelope(number)

    def sent(self, number: int, octets: int) -> None:
        """Do nothing: octets that were told wrong are not to be corrected."""

    def commit(self, numbers: Sequence[int]) -> Deferred[int]:
        return self._maildrop.commit(numbers)

    def release(self) -> None:
        self._maildrop.release()
