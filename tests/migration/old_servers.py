"""A POP3 and an IMAP server of one mailbox each, with the faults that tests give them."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from tests.migration.scripted import Scripted, Talk

CAPA = ("TOP", "UIDL", "USER", "PIPELINING")


class Dropped(ConnectionError):
    """The server's end of the line."""


@dataclass
class Pop3:
    """POP3. What is changed in it counts from the next session on, and `faults` at once."""

    mail: list[tuple[bytes, bytes]]
    """Unique-ids, and messages with CRLF ends."""
    capa: tuple[str, ...] | None = CAPA
    """None: it has no CAPA, as old servers, and yet UIDL."""
    top: bool = True
    sizes: dict[int, int] = field(default_factory=dict)
    """Wrong ones, by message-number."""
    faults: list[Callable[[Talk, bytes], None]] = field(default_factory=list)
    """Called for the next response with a message, one each, instead of sending it."""
    logins: list[bytes] = field(default_factory=list)
    """Answers to the next passwords, instead of +OK."""
    said: list[list[bytes]] = field(default_factory=list)
    """The commands of each session."""
    response: bytes = b""
    """What a client must say after AUTH."""

    def __call__(self, talk: Talk) -> None:
        """A session."""
        mail = list(self.mail)
        said: list[bytes] = []
        self.said.append(said)
        talk.send(b"+OK\r\n")
        while line := talk.line():
            said.append(line)
            command, _, rest = line.partition(b" ")
            if command == b"TOP" and not self.top:
                talk.send(b"-ERR\r\n")
            elif command == b"AUTH":
                talk.send(b"+ \r\n")
                assert b64decode(talk.line()) == self.response
                talk.send(b"+OK\r\n")
            elif command in {b"TOP", b"RETR"}:
                self._message(talk, mail, command, rest)
            else:
                talk.send(self._answer(command, mail))
            if command == b"QUIT":
                return

    def _answer(self, command: bytes, mail: list[tuple[bytes, bytes]]) -> bytes:
        if command == b"PASS":
            return self.logins.pop(0) if self.logins else b"+OK\r\n"
        if command == b"CAPA" and self.capa is None:
            return b"-ERR\r\n"
        if command == b"CAPA":
            return b"+OK\r\n" + b"".join(each.encode() + b"\r\n" for each in self.capa or ()) + b".\r\n"
        if command == b"UIDL" and "UIDL" not in (self.capa or CAPA):
            return b"-ERR\r\n"
        lists = {
            b"UIDL": [b"%d %b" % (number, uidl) for number, (uidl, _) in enumerate(mail, 1)],
            b"LIST": [
                b"%d %d" % (number, self.sizes.get(number, len(each))) for number, (_, each) in enumerate(mail, 1)
            ],
        }
        if command in lists:
            return b"+OK\r\n" + b"".join(line + b"\r\n" for line in lists[command]) + b".\r\n"
        return b"+OK\r\n"

    def _message(self, talk: Talk, mail: list[tuple[bytes, bytes]], command: bytes, rest: bytes) -> None:
        number, _, lines = rest.partition(b" ")
        message = mail[int(number) - 1][1]
        header, blank, _ = message.partition(b"\r\n\r\n")
        if command == b"TOP" and lines == b"0":
            talk.send(b"+OK\r\n" + stuffed(header + blank))
        elif self.faults:
            self.faults.pop(0)(talk, message)
        else:
            talk.send(b"+OK\r\n" + stuffed(message))


@dataclass
class Imap:
    """IMAP."""

    mail: list[tuple[bytes, str, str]]
    """Messages, dates, and flags; UIDs are ten times their places from 1."""
    capability: str = "IMAP4rev1 AUTH=PLAIN"
    said: list[list[bytes]] = field(default_factory=list)
    extra: bytes = b""
    """What it says before each answer."""
    response: bytes = b""
    """What a client must say after AUTHENTICATE; b"": anything."""

    def __call__(self, talk: Talk) -> None:
        """A session."""
        said: list[bytes] = []
        self.said.append(said)
        talk.send(b"* OK ready\r\n")
        while line := talk.line():
            said.append(line)
            tag, _, command = line.partition(b" ")
            for answer in self._answers(talk, command):
                talk.send(answer)
            talk.send(self.extra, tag + b" OK done\r\n")
            if command == b"LOGOUT":
                return

    def _answers(self, talk: Talk, command: bytes) -> Iterator[bytes]:
        if command == b"CAPABILITY":
            yield b"* CAPABILITY " + self.capability.encode() + b"\r\n"
        elif command.startswith(b"AUTHENTICATE"):
            talk.send(b"+ \r\n")
            assert b64decode(talk.line()) == self.response or not self.response
        elif command == b"EXAMINE INBOX":
            yield b"* FLAGS (\\Seen \\Deleted)\r\n* %d EXISTS\r\n* OK [UIDVALIDITY 1] ok\r\n" % len(self.mail)
        elif command.startswith(b"UID FETCH 1:*"):
            for place, (message, date, flags) in enumerate(self.mail, 1):
                values = (place, 10 * place, flags.encode(), date.encode(), len(message))
                yield b'* %d FETCH (UID %d FLAGS (%b) INTERNALDATE "%b" RFC822.SIZE %d)\r\n' % values
        elif command.startswith(b"UID FETCH"):
            for uid in command.split(b" ")[2].split(b","):
                with suppress(IndexError):
                    header = self.mail[int(uid) // 10 - 1][0].partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
                    start = (int(uid) // 10, int(uid), len(header))
                    yield b"* %d FETCH (UID %d BODY[HEADER]<0> {%d}\r\n" % start + header + b")\r\n"


def stuffed(message: bytes) -> bytes:
    """A message with CRLF ends as a multi-line response has it, which ends its last line if nobody else has."""
    lines = message + b"\r\n" * (message[-2:] not in {b"", b"\r\n"})
    return (b"\r\n" + lines).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\n"


def broken(octets: int) -> Callable[[Talk, bytes], None]:
    """The line breaks after so many octets of the message."""

    def fault(talk: Talk, message: bytes) -> None:
        talk.send(b"+OK\r\n" + stuffed(message)[:octets])
        raise Dropped

    return fault


def serving(*sites: Pop3 | Imap) -> list[Scripted]:
    """A server for each."""
    return [Scripted(many=site) for site in sites]
