"""Hands a message to the server by LMTP, and says what became of it as a mail server's pipe understands it.

What is temporary for one recipient is temporary for the call, because it has one exit status, and a mail must not bounce for what
mends itself. So that whoever tries again doubles nothing, no recipient gets the message while one of them is refused for now. Only
what the server says after the end of the data comes too late for that.
"""

from __future__ import annotations

import os
import socket
import string
from collections.abc import Iterable
from typing import Final, NamedTuple

from mailserver.cli.lmtp import Client, Lost, Reply
from mailserver.cli.message import Message, Unreadable, path, xtext
from mailserver.cli.places import Place

LONGEST_LINE: Final = 900
"""Characters of what is said: a line that a log, and a bounce, can hold. Postfix keeps some kilobytes of a program's output."""

NO_ORIGINAL: Final = (501, 504, 555)
"""Replies to RCPT of a server that does not know ORCPT (RFC 5321 section 4.1.1.11)."""

_STATUSES: Final = (
    ("5.1.7", os.EX_UNAVAILABLE),  # the sender's address, and so is the next
    ("5.1.8", os.EX_UNAVAILABLE),
    ("5.1.", os.EX_NOUSER),
    ("5.2.", os.EX_NOPERM),  # as dovecot-lda and deliverquota end at a full maildrop
    ("5.7.", os.EX_NOPERM),
    ("5.3.4", os.EX_DATAERR),  # too big
    ("5.6.", os.EX_DATAERR),
)
"""Exit statuses for what is permanent, by the beginning of the enhanced status code (RFC 3463)."""


class Verdict(NamedTuple):
    """The exit status, and one line for people and for Postfix, which reads the code at its beginning; "": there is nothing to say."""

    status: int
    line: str


def temporary(text: str, code: str = "4.3.0") -> Verdict:
    """Try again later."""
    return _verdict(code, text)


def hand_over(  # noqa: PLR0913 - what the command line says
    message: Message, users: Iterable[str], *, sender: str | None, original: str, place: Place, seconds: float
) -> Verdict:
    """Deliver the message to these users. The `sender` counts before that of the message; None: it is not given."""
    if message.empty:
        return _verdict("5.6.0", "the message is empty")
    host = _host()
    try:
        source = os.fsdecode(message.sender or b"") if sender is None else sender
        reverse = path("" if source.upper() == "MAILER-DAEMON" else source, host)
    except ValueError as error:
        return _verdict("5.1.7", f"the sender: {error}")
    try:
        recipients = {user: path(user) for user in users}
    except ValueError as error:
        return _verdict("5.1.3", str(error))
    try:
        with Client(place, seconds) as client:
            verdict = _Transaction(client, message, recipients).run(host, reverse, original)
            client.quit()
    except Lost as error:
        return temporary(str(error), "4.4.2")
    except Unreadable as error:
        return temporary(f"standard input: {error}; nothing was delivered")
    return verdict


class _Transaction:
    def __init__(self, client: Client, message: Message, recipients: dict[str, bytes]) -> None:
        self._client = client
        self._message = message
        self._recipients = recipients
        self._outcomes: dict[str, Reply] = {}

    def run(self, host: str, reverse: bytes, original: str) -> Verdict:
        """All of it. Errors: Lost, Unreadable."""
        greeting = self._client.greet(host)
        if not greeting.good:  # also for good: it is no answer about this message
            return temporary(f"the server does not serve now: {greeting.text}")
        answer = self._client.ask(b"MAIL FROM:" + reverse + self._parameters(reverse))
        if not answer.good:
            return _verdict(answer.status, f"sender {os.fsdecode(reverse)}: {answer.text}")
        accepted = [user for user in self._recipients if self._accepts(user, original)]
        if not accepted or any(reply.temporary for reply in self._outcomes.values()):
            return self._verdict()
        answer = self._client.ask(b"DATA")
        replies = self._send(len(accepted)) if answer.good else [answer] * len(accepted)
        self._outcomes.update(zip(accepted, replies, strict=True))
        return self._verdict()

    def _parameters(self, reverse: bytes) -> bytes:
        paths = [reverse, *self._recipients.values()]
        eight = b" BODY=8BITMIME" if "8BITMIME" in self._client.keywords else b""
        wide = "SMTPUTF8" in self._client.keywords and not all(each.isascii() for each in paths)
        return eight + b" SMTPUTF8" * wide

    def _accepts(self, user: str, original: str) -> bool:
        command = b"RCPT TO:" + self._recipients[user]
        reply = self._client.ask(command + (b" ORCPT=rfc822;" + xtext(original) if original else b""))
        if original and "DSN" not in self._client.keywords and reply.code in NO_ORIGINAL:
            reply = self._client.ask(command)
        if not reply.good:
            self._outcomes[user] = reply
        return reply.good

    def _send(self, replies: int) -> list[Reply]:
        """Send the text; the reply for each recipient."""
        try:
            for octets in self._message.stuffed():
                self._client.send(octets)
        except Lost:
            last_word = self._client.reply()  # a server that closes early may have said why
            if last_word.good:
                raise
            return [last_word] * replies
        return [self._client.reply() for _ in range(replies)]

    def _verdict(self) -> Verdict:
        failed = {user: reply for user, reply in self._outcomes.items() if not reply.good}
        if not failed:
            return Verdict(os.EX_OK, "")
        first = next((reply for reply in failed.values() if reply.temporary), next(iter(failed.values())))
        delivered = [user for user, reply in self._outcomes.items() if reply.good]
        text = "; ".join(
            f"<{user}>: {reply.text}" for user, reply in sorted(failed.items(), key=lambda each: each[1] is not first)
        )
        if len(self._recipients) > 1:
            text += f" (delivered to {', '.join(f'<{user}>' for user in delivered) or 'nobody'})"
        return _verdict(first.status, text)


def _verdict(code: str, text: str) -> Verdict:
    status = next((status for start, status in _STATUSES if code.startswith(start)), os.EX_UNAVAILABLE)
    shown = "".join(c if c.isprintable() else "?" for c in text)[:LONGEST_LINE]
    return Verdict(os.EX_TEMPFAIL if code.startswith("4") else status, f"{code} {shown}")


def _host() -> str:
    """This machine's name, as far as it can be a domain."""
    name = socket.gethostname()
    return name if name and not set(name) - {*string.ascii_letters, *string.digits, "-", "."} else "localhost"
