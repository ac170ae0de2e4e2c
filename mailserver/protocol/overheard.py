"""A session that an operator follows: it tells what it reads and what it replies, in words that hold no secret.

Its class is another one while somebody follows it, and its input is in another buffer. So a session that nobody follows runs the very
same code as if this did not exist, and the dialog is told where lines are read and replies are given away: however a client's
octets arrive, what is a password here is what the session takes for one. Bodies of messages that are fetched never pass by here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import cache
from typing import Any, ClassVar, Final

from mailserver.errors import LineTooLong, Refusal
from mailserver.protocol import lmtp, pop3
from mailserver.protocol.commands import Commands
from mailserver.protocol.lmtp_data import MailBuffer
from mailserver.protocol.redacted import HIDDEN, RESPONSE, TOO_LONG, lmtp_line, pop3_line, printable
from mailserver.protocol.wire import TERMINATION, LineBuffer

CLIENT: Final = "C"
SERVER: Final = "S"
"""Who says a line, as the RFCs' examples have it."""

Tell = Callable[[str, str], object]
"""Takes a line: who says it, and its text."""
Names = Callable[[], Collection[str]]
"""The names that may be shown, without capitals."""
Between = Callable[[], object]
"""Is called when all was told of a line that was read, and of what it has led to, before the next one is."""

ROWS: Final = 20
"""Lines of a listing that are shown: all capabilities, and the first messages."""

LISTINGS: Final = frozenset({b"CAPA", b"LIST", b"UIDL", b"AUTH"})
"""The commands whose multi-line responses are shown. What *ENV tells stands in messages."""


class Hearing:
    """What was told of one session."""

    __slots__ = ("_heard", "_octets", "_rows", "_told", "_verb", "between", "names")

    def __init__(self, told: Tell, names: Names, between: Between) -> None:
        self._told = told
        self.names = names
        self.between = between
        self._heard = 0  # of the replies that wait in the session
        self._rows = -1  # of the listing under way; -1: none is
        self._octets = 0  # of a message that is read, or of the listing
        self._verb = b""

    def read(self, line: bytes, words: str) -> None:
        """A line was read, which is told in these words."""
        self._verb = line.partition(b" ")[0].upper()
        self._told(CLIENT, words)

    def message(self, octets: int) -> None:
        """Some of a message was read."""
        self._octets += octets

    def replies(self, waiting: list[bytes], *, lists: bool) -> None:
        """Tell the replies that have been added since the last time. `lists`: a listing is under way, whose rows come next."""
        new, self._heard = waiting[self._heard :], len(waiting)
        for at, octets in enumerate(new):
            if self._rows >= 0:
                self._row(octets)
                continue
            self.reply(octets)
            if lists or TERMINATION in new[at + 1 :]:
                self._rows = self._octets = 0

    def given_away(self) -> None:
        """The replies have left the session."""
        self._heard = 0

    def reply(self, octets: bytes) -> None:
        """Tell a reply. A challenge is not shown: SASL's may tell as much as a response."""
        if self._octets:
            self._told(CLIENT, f"({self._octets:,} octets of a message)")
            self._octets = 0
        if octets.startswith(b"+ "):
            self._told(SERVER, f"+ {HIDDEN}")
            return
        for line in octets.splitlines():
            self._told(SERVER, printable(line))

    def _row(self, octets: bytes) -> None:
        """Tell a block of a listing: its first lines."""
        shown = ROWS if self._verb in LISTINGS else 0
        if octets == TERMINATION:
            if self._rows > shown:
                self._told(SERVER, f"({self._rows - shown:,} lines more; {self._octets:,} octets in all)")
            self._told(SERVER, ".")
            self._rows, self._octets = -1, 0
            return
        if self._rows < shown:
            for line in octets.splitlines()[: shown - self._rows]:
                self._told(SERVER, printable(line))
        self._rows += octets.count(b"\n")
        self._octets += len(octets)


class _Heard:
    """Input whose lines are told: the base of a buffer."""

    __slots__ = ()

    hearing: Hearing
    session: Overheard

    def line(self, limit: int) -> bytes | None:
        """Take the next line, after the replies to the one before have been told."""
        self.session.tell_replies()
        self.hearing.between()
        try:
            line: bytes | None = super().line(limit)  # type: ignore[misc]  # the buffer's
        except LineTooLong:
            self.hearing.read(b"", TOO_LONG)
            raise
        if line is not None:
            self.hearing.read(line, self.session.words(line))
        return line


class _Lines(_Heard, LineBuffer):
    """That of POP3."""

    __slots__ = ("hearing", "session")


class _Mail(_Heard, MailBuffer):
    """That of LMTP, in which the octets of messages are counted."""

    __slots__ = ("hearing", "session")

    def octets(self, most: int) -> bytes:
        """Take octets of a chunk."""
        data = super().octets(most)
        self.hearing.message(len(data))
        return data

    def text(self) -> tuple[bytes, bool]:
        """Take text."""
        data, ended = super().text()
        self.hearing.message(len(data))
        return data, ended


class Overheard:
    """What a session has more while it is overheard: the base of its class."""

    __slots__ = ()

    _buffer: Any  # its own, or one that tells
    _out: list[bytes]
    plain: ClassVar[tuple[type, type[LineBuffer]]]
    """The session's class and its buffer's, while nobody hears it."""
    told: ClassVar[type[LineBuffer]]
    """Its buffer's, while somebody does."""

    words: ClassVar[Callable[[Any, bytes], str]]
    """Says a line that was read, without secrets."""

    @property
    def lists(self) -> bool:
        """Whether a listing is under way."""
        return False

    def hear(self, told: Tell, names: Names, between: Between) -> None:
        """Tell what comes."""
        buffer = self._buffer = _moved(self._buffer, self.told)
        buffer.hearing, buffer.session = Hearing(told, names, between), self

    def unhear(self) -> None:
        """Be as any other session."""
        self.__class__, buffer = self.plain
        self._buffer = _moved(self._buffer, buffer)

    def tell_replies(self) -> None:
        """Tell the replies so far."""
        self._buffer.hearing.replies(self._out, lists=self.lists)

    def take(self) -> list[bytes]:
        """Give away the replies so far."""
        self.tell_replies()
        self._buffer.hearing.given_away()
        given: list[bytes] = super().take()  # type: ignore[misc]  # the session's
        return given

    def last_words(self, refusal: Refusal) -> list[bytes]:
        """Give away the replies so far, and the one that ends the session."""
        words: list[bytes] = super().last_words(refusal)  # type: ignore[misc]  # the session's
        self._buffer.hearing.reply(words[-1])
        return words


class _POP3(Overheard, pop3.Session):
    """An overheard session of POP3."""

    __slots__ = ()
    plain = pop3.Session, LineBuffer
    told = _Lines

    @property
    def lists(self) -> bool:
        """Whether a listing is under way."""
        return self._listing is not None

    def words(self, line: bytes) -> str:
        """A line that was read: before the login it may be a response, where one is awaited."""
        stranger = self.state is pop3.AUTHORIZATION
        if stranger and self._exchanges is not None and self._exchanges.under_way:
            return "*" if line == b"*" else RESPONSE
        return pop3_line(line, _verbs(self._commands), self._buffer.hearing.names(), stranger=stranger)


class _LMTP(Overheard, lmtp.Session):
    """An overheard session of LMTP."""

    __slots__ = ()
    plain = lmtp.Session, MailBuffer
    told = _Mail

    def words(self, line: bytes) -> str:
        """A line that was read."""
        return lmtp_line(line, _verbs(self._commands))


_KINDS: Final = {each.plain[0]: each for each in (_POP3, _LMTP)}


def overhear(session: Any, told: Tell, names: Names, between: Between) -> bool:
    """Tell the dialog of a session from now on. False: it is none, such as a preamble before one."""
    kind = _KINDS.get(type(session))
    if kind is not None:
        session.__class__ = kind
        session.hear(told, names, between)
    return kind is not None


def let_be(session: Any) -> None:
    """Tell no more of a session."""
    if isinstance(session, Overheard):
        session.unhear()


@cache
def _verbs(commands: Commands[Any, Any, Any]) -> frozenset[bytes]:
    """All that any state knows."""
    return frozenset().union(*commands.tables.values())


def _moved(buffer: Any, kind: type[LineBuffer]) -> Any:
    """A buffer of another class with the same input."""
    moved = kind.__new__(kind)
    for each in (LineBuffer, MailBuffer) if isinstance(buffer, MailBuffer) else (LineBuffer,):
        for name in each.__slots__:
            setattr(moved, name, getattr(buffer, name))
    return moved
