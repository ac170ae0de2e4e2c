"""A user's mail on another server: unique-ids and messages by POP3, and by IMAP when they arrived and which were seen.

A first session lists, and ends with QUIT, as clients end theirs: servers of mbox files write unique-ids that are new only then.
Another reads, and ends without, so that the server enters no UPDATE state with messages that were read.
Between the two, and after a line that broke, message-numbers may have changed: messages are found again by their unique-ids.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import Event
from typing import Final, TypeVar

from mailserver.migration import imap_client, pop3_client
from mailserver.migration.facts import Fact, Listed, by_headers, by_imap
from mailserver.migration.places import Formers, Login, Place
from mailserver.migration.resumed import Resumed
from mailserver.migration.server import Address, Trust
from mailserver.migration.source import Original, SourceError, Unreadable
from mailserver.migration.wire import PATIENCE, Patience, Refused, TryAgain, Unreachable
from mailserver.migration.words import shown

T = TypeVar("T")

PAUSES: Final = (1.0, 4.0, 15.0, 60.0)
"""Seconds before another try: a server needs some until it knows that a line broke, and lets the next session in."""

SPOILT: Final = 3
"""Messages in a row that are left out because each try to read them ends the session: if more do that, it is the server."""

_CHOICES: Final = {"auth": ("password", "token"), "read": ("top", "retr")}
"""Options and their values, the default first."""


@dataclass(frozen=True, slots=True)
class Reach:
    """How a server is reached, as the options of a place say."""

    pop3: Address
    imap: Address | None
    trust: Trust
    token: bool
    """Whether the secret is a token (OAuth)."""
    top: bool
    """Whether messages are read by TOP, for which no server marks them as read, where the server has it."""
    patience: Patience = PATIENCE
    pauses: Sequence[float] = PAUSES


class _Broken(TryAgain):
    """The session was good until a message was read: the line broke there, or what came was no POP3."""


class Network:
    """A `Source`. It is connected from one call to the next."""

    def __init__(self, reach: Reach, login: Login) -> None:
        self.notes: list[str] = []
        self._reach = reach
        self._login = login
        self._client: pop3_client.Client | None = None
        self._listed: Mapping[str, Listed] = {}
        self._numbers: Mapping[tuple[bytes, int], Listed] = {}
        self._ended = Event()
        self._noted: set[str] = set()
        self._spoilt = 0
        self._wrong_sizes = False

    def messages(self) -> Sequence[Original]:
        """In the order of their message-numbers. Errors: SourceError."""
        return self._persistently(self._messages)

    def read(self, message: Original) -> Iterator[bytes]:
        """Errors: Unreadable, also if only this message breaks each session; SourceError, once further tries have failed, too."""
        listed = self._listed[message.place]
        had = Resumed()
        pauses = iter(self._reach.pauses)
        while True:
            before = had.octets
            try:
                yield from self._read(listed, had)
            except TryAgain as error:
                self._drop()
                pauses = iter(self._reach.pauses) if had.octets > before else pauses
                pause = next(pauses, None)
                if self._ended.wait(pause or 0):
                    raise
                if pause is None:
                    raise self._given_up(error) from None
            else:
                self._spoilt = 0
                self._tell_size(message, had.octets)
                return

    def close(self) -> None:
        """End the session without QUIT, and the pauses; idempotent."""
        self._ended.set()
        self._drop()

    # Sessions.

    def _opened(self) -> pop3_client.Client:
        client = pop3_client.Client.connect(self._reach.pop3, self._reach.trust, self._reach.patience)
        try:
            client.login(self._login.name, self._login.secret, self._login.master, token=self._reach.token)
        except BaseException:
            client.close()
            raise
        return client

    def _drop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _persistently(self, work: Callable[[], T]) -> T:
        """Try again while that may help. A server that is not there is told at once: the operator may have named the wrong one."""
        for pause in self._reach.pauses:
            try:
                return work()
            except Unreachable:
                raise
            except TryAgain:
                if self._ended.wait(pause):
                    raise
        return work()

    # The list.

    def _messages(self) -> list[Original]:
        with self._opened() as client:
            listed = self._list(client)
            facts = by_headers(client, listed) if self._reach.imap is None else self._by_imap(client, listed)
            client.quit()
        self._listed = {self._place(each): each for each in listed}
        now = time.time()
        return [
            Original(place, each.uidl, now if fact.received is None else fact.received, fact.seen, each.octets)
            for (place, each), fact in zip(self._listed.items(), facts, strict=True)
        ]

    def _by_imap(self, client: pop3_client.Client, listed: Sequence[Listed]) -> list[Fact]:
        reach, login = self._reach, self._login
        with imap_client.Client.connect(reach.imap or reach.pop3, reach.trust, reach.patience) as imap:
            imap.login(login.name, login.secret, login.master, token=reach.token)
            facts, lost = by_imap(client, listed, imap)
            imap.logout()
        for each in lost:
            self._note(
                f"{self._place(each)}: IMAP does not have it: it counts as unread, and its header says when it arrived"
            )
        return facts

    def _list(self, client: pop3_client.Client) -> list[Listed]:
        sizes = dict(client.listing())
        try:
            uidls = client.uidl()
        except Refused:
            self._note(f"{self._reach.pop3} has no unique-ids (UIDL)")
            uidls = [(number, b"") for number in sizes]
        if [number for number, _ in uidls] != list(sizes):
            raise SourceError(f"{self._reach.pop3} lists other messages by UIDL than by LIST")
        times: Counter[bytes] = Counter()
        listed = []
        for number, uidl in uidls:
            listed.append(Listed(number, uidl, times[uidl], sizes[number]))
            times[uidl] += 1
        return listed

    def _place(self, listed: Listed) -> str:
        return (
            f"{self._reach.pop3} {self._login.name}: message {listed.number}, unique-id {shown(listed.uidl) or 'none'}"
        )

    # Messages.

    def _read(self, listed: Listed, had: Resumed) -> Iterator[bytes]:
        client = self._session()
        number = self._found(listed).number
        try:
            top = self._reach.top and client.has_top(number)
            yield from had.beyond(client.top(number, pop3_client.WHOLE) if top else client.retr(number))
            if top and had.octets < listed.octets:  # either its sizes are wrong, or its TOP is
                yield from self._rest(client, number, had)
            elif had.octets < listed.octets:  # or it does not stuff each dot, as Dovecot none at the beginning
                client.settle()
        except SourceError as error:
            raise _Broken(str(error)) from None

    def _given_up(self, error: TryAgain) -> Exception:
        """The error of a message whose reading has failed for good: that of the message, or of the server."""
        if not isinstance(error, _Broken) or self._spoilt == SPOILT:
            return error
        self._spoilt += 1
        return Unreadable(f"each try to read it ends the session: {error}")

    def _rest(self, client: pop3_client.Client, number: int, had: Resumed) -> Iterator[bytes]:
        before = had.octets
        try:
            yield from had.beyond(client.retr(number))
        except Unreadable as error:
            raise Unreadable(f"{error}; if others are so, the server's TOP is wrong: write read=retr") from None
        if had.octets > before:
            self._note(f"{self._reach.pop3} does not send whole messages by TOP: write read=retr, which is faster")

    def _session(self) -> pop3_client.Client:
        """A session, in which messages have the numbers of `_numbers`."""
        if self._client is not None and not self._client.closed:
            return self._client
        client = self._client = self._opened()
        listed = self._list(client)
        self._numbers = {(each.uidl, each.occurrence): each for each in listed}
        known = [each for each in self._listed.values() if each.uidl]
        if known and listed and not any((each.uidl, each.occurrence) in self._numbers for each in known):
            raise SourceError(
                f"{self._reach.pop3} gives {self._login.name} other unique-ids in each session:"
                " no client could keep its mail there, and nothing can be moved twice"
            )
        return client

    def _found(self, listed: Listed) -> Listed:
        """The message in this session."""
        found = self._numbers.get((listed.uidl, listed.occurrence))
        if found is None:
            raise Unreadable("it is no longer there, or has another unique-id now")
        if not listed.uidl and found.octets != listed.octets:
            raise Unreadable("another message has its number now, and it has no unique-id")
        return found

    # Notes.

    def _tell_size(self, message: Original, octets: int) -> None:
        """Sizes that are wrong are told once; servers forget two octets of each message whose last line has no end."""
        if message.octets is None or self._wrong_sizes or abs(octets - message.octets) <= len(b"\r\n"):
            return
        self._wrong_sizes = True
        self._note(
            f"{message.place} has {octets} octets, and not {message.octets}: sizes there are wrong, which does no harm"
        )

    def _note(self, text: str) -> None:
        if text not in self._noted:  # which is quick, also where IMAP has none of 100,000 messages
            self._noted.add(text)
            self.notes.append(text)


def open_network(place: Place, login: Login, _: Formers) -> Network:
    """The mail of this user there; nothing is asked yet."""
    return Network(reach(place), login)


def check_network(place: Place) -> None:
    """Refuse options whose values are none. Errors: ValueError."""
    reach(place)


def reach(place: Place) -> Reach:
    """What the options of a place say. Errors: ValueError."""
    options = place.options
    for name, values in _CHOICES.items():
        if options.get(name, values[0]) not in values:
            raise ValueError(f"{place.kind}: {name}={options[name]} is none of {', '.join(values)}")
    imap = options.get("imap")
    return Reach(
        Address.parse(place.where, place.kind),
        Address.parse(imap, "imap") if imap else None,
        Trust.parse(options),
        token=options.get("auth") == "token",
        top=options.get("read") != "retr",
    )
