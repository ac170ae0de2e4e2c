"""A small IMAP client for one session that looks at one mailbox and changes nothing (RFC 3501, 4616): EXAMINE and BODY.PEEK."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from mailserver.migration.imap_response import Value, number, pairs, seconds, values
from mailserver.migration.likeness import ENOUGH
from mailserver.migration.session import Session
from mailserver.migration.source import SourceError
from mailserver.migration.wire import LISTED, Refused, TryAgain, Wire
from mailserver.migration.words import quoted, shown

_TOGETHER: Final = 50
"""Headers that are asked for at a time: one command of moderate length."""
_LITERAL: Final = re.compile(rb"\{(\d{1,18})\+?\}\Z")
_LITERALS: Final = 100
"""Literals of one response, of which a FETCH of ours has one."""


class Item(NamedTuple):
    """A message as IMAP has it."""

    uid: int
    octets: int
    received: float | None
    """In seconds of the epoch; None: the server says nothing that is a date."""
    seen: bool


class Client(Session):
    """A session, in which a NO or BAD is `Refused`."""

    start_tls = "STARTTLS"

    def __init__(self, wire: Wire) -> None:
        super().__init__(wire)
        self._tag = 0

    def examine(self) -> int:
        """Open INBOX to read; the number of its messages."""
        exists = 0
        for response in self._command(b"EXAMINE INBOX", "EXAMINE"):
            if len(response) == 2 and response[1] == b"EXISTS":  # noqa: PLR2004 - "n EXISTS"
                exists = number(response[0]) or 0
        return exists

    def listing(self) -> list[Item]:
        """The messages of INBOX, in its order."""
        found: dict[int, Item] = {}
        if not self.examine():
            return []
        for fields in self._fetched(b"UID FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE)"):
            uid, octets, flags = number(fields.get(b"UID")), number(fields.get(b"RFC822.SIZE")), fields.get(b"FLAGS")
            if uid is None or octets is None or not isinstance(flags, list):
                continue  # a change that another session has made, told without being asked for
            seen = any(isinstance(flag, bytes) and flag.lower() == b"\\seen" for flag in flags)
            found[uid] = Item(uid, octets, seconds(fields.get(b"INTERNALDATE")), seen)
            if len(found) > LISTED:
                raise SourceError(f"{self._wire.address} lists more than {LISTED} messages")
        return sorted(found.values())

    def headers(self, uids: Sequence[int]) -> Iterator[bytes | None]:
        """The headers of these messages, as far as `likeness.likeness` reads them; None: there is none, or no message."""
        for begin in range(0, len(uids), _TOGETHER):
            asked = uids[begin : begin + _TOGETHER]
            command = b"UID FETCH %b (UID BODY.PEEK[HEADER]<0.%d>)" % (b",".join(b"%d" % uid for uid in asked), ENOUGH)
            found: dict[int | None, bytes] = {}
            for fields in self._fetched(command):
                header = fields.get(b"BODY[HEADER]<0>", fields.get(b"BODY[HEADER]"))
                uid = number(fields.get(b"UID"))
                if uid in asked and isinstance(header, bytes):  # whatever else it sends is not kept
                    found[uid] = header[:ENOUGH]
            yield from (found.get(uid) for uid in asked)

    def logout(self) -> None:
        """End the session. It also closes."""
        try:
            self._ask(b"LOGOUT", "LOGOUT")
        finally:
            self.close()

    def _greeting(self) -> None:
        address, greeting = self._wire.address, self._wire.line()
        words = greeting.upper().split(b" ", 2)[:2]
        if words == [b"*", b"BYE"]:
            raise TryAgain(f"{address} refuses the connection: {shown(greeting)}")
        if words != [b"*", b"OK"]:  # PREAUTH would be somebody else's mail
            raise SourceError(f"{address} does not speak IMAP: it does not begin with * OK")

    def _capability(self) -> None:
        for response in self._command(b"CAPABILITY", "CAPABILITY"):
            if response[:1] == [b"CAPABILITY"]:
                self.capabilities = frozenset(each.upper() for each in response if isinstance(each, bytes))

    def _has_plain(self) -> bool:
        return b"AUTH=PLAIN" in self.capabilities

    def _log_in(self, name: str, secret: str) -> None:
        self._ask(b'LOGIN "%b" "%b"' % (quoted(name), quoted(secret)), "LOGIN")

    def _authenticate(self, mechanism: bytes, response: bytes) -> None:
        tag = self._send(b"AUTHENTICATE " + mechanism)
        answers = [b64encode(response), b""]  # the second: XOAUTH2 tells an error before its NO
        while (line := self._wire.line()).startswith(b"+") and answers:
            self._wire.send(answers.pop(0) + b"\r\n")
        while line.startswith(b"* "):
            line = self._wire.line()
        self._judge(line, tag, mechanism.decode())

    def _fetched(self, command: bytes) -> Iterator[dict[bytes, Value]]:
        for response in self._command(command, "FETCH"):
            if len(response) == 3 and response[1] == b"FETCH":  # noqa: PLR2004 - "n FETCH (...)"
                yield dict(pairs(response[2]))

    def _ask(self, command: bytes, what: str) -> None:
        for _ in self._command(command, what):
            pass

    def _command(self, command: bytes, what: str) -> Iterator[list[Value]]:
        """Its untagged responses, as they come; `what` names it in errors, without its secrets."""
        tag = self._send(command)
        while (line := self._wire.line()).startswith(b"* "):
            word = line[2:].split(b" ", 1)[0].upper()
            if word in {b"OK", b"NO", b"BAD"}:
                continue  # words for people
            if word == b"BYE" and what != "LOGOUT":
                raise TryAgain(f"{self._wire.address} ends the session: {shown(line[6:])}")
            yield self._response(line[2:])
        self._judge(line, tag, what)

    def _response(self, line: bytes) -> list[Value]:
        text: list[bytes] = []
        literals: list[bytes] = []
        while found := _LITERAL.search(line):
            if int(found[1]) > ENOUGH or len(literals) == _LITERALS:
                raise SourceError(f"{self._wire.address} sent a literal of {int(found[1])} octets, where it may not")
            text.append(line[: found.start()])
            literals.append(b"".join(self._wire.octets(int(found[1]))))
            line = self._wire.line()
        try:
            return values([*text, line], literals)
        except ValueError as error:
            raise SourceError(f"{self._wire.address} sent {error}: {shown(line)}") from None

    def _send(self, command: bytes) -> bytes:
        self._tag += 1
        tag = b"a%d" % self._tag
        self._wire.send(tag + b" " + command + b"\r\n")
        return tag

    def _judge(self, line: bytes, tag: bytes, what: str) -> None:
        said, _, rest = line.partition(b" ")
        word, _, words = rest.partition(b" ")
        if said != tag or word.upper() not in {b"OK", b"NO", b"BAD"}:
            raise SourceError(f"{self._wire.address} does not speak IMAP: its answer to {what} has no tag")
        if word.upper() != b"OK":
            raise Refused(f"{self._wire.address} refuses {what}: {shown(words)}", words)
