"""The programs that hand mail over to us, and what each of them makes of a message on the way."""

from __future__ import annotations

import os
import re
import smtplib
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Final

from tests.corpus import CORPUS, canonical
from tests.interop.clients import Gap, path_of
from tests.rawlmtp import RawLMTP, stuffed
from tests.servers import ROOT

SECONDS: Final = 60


def _is_empty(wire: bytes) -> bool:
    return not wire


def _has_a_bare_cr(wire: bytes) -> bool:
    return bool(re.search(rb"\r(?!\n)", wire))


def _has_no_field_among_its_fields(wire: bytes) -> bool:
    first, *others = wire.partition(b"\r\n\r\n")[0].split(b"\r\n")
    return _is_field(first) and not all(map(_is_field, others))


def _is_field(line: bytes) -> object:
    return re.match(rb"[!-9;-~]+[ \t]*:|[ \t]|$", line)


def _has_no_body(wire: bytes) -> bool:
    return not wire.startswith(b"\r\n") and b"\r\n\r\n" not in wire and bool(_is_field(wire))


def _begins_with_a_dot(wire: bytes) -> bool:
    return wire.startswith(b".") and bool(_is_field(wire))


EXIM: Final = (
    Gap("makes a line end of a CR that ends no line", _has_a_bare_cr),
    Gap("begins the body at a line that is no header field", _has_no_field_among_its_fields),
    Gap("ends a header that nothing follows with a blank line", _has_no_body),
)

GAPS: Final[Mapping[str, tuple[Gap, ...]]] = {
    "raw": (),
    "chunks": (),
    "smtplib": (Gap("sends a line end for a message of no octets", _is_empty),),
    "swaks": (),
    "deliver": (Gap("takes no message of no octets: whoever writes one has failed", _is_empty),),
    "postfix": (
        Gap("makes a space of a CR that ends no line, and drops it at a line's end", _has_a_bare_cr),
        Gap("begins the body at a line that is no header field", _has_no_field_among_its_fields),
    ),
    "exim": (
        *EXIM,
        Gap("does not double the dot at the beginning of a header field", _begins_with_a_dot),
    ),
    "exim by TCP": EXIM,
}
"""The one table of what a feeder cannot hand over as it is, and why."""


@cache
def wire(message: bytes) -> bytes:
    """Its canonical form, made once: it takes a while, and many ask for it."""
    return canonical(message)


@cache
def _stuffed(message: bytes) -> bytes:
    return stuffed(message)


def fed_by(feeder: str) -> dict[str, bytes]:
    """The corpus by its senders, less the messages that this feeder changes."""
    gaps = GAPS[feeder]
    fitting = {name: text for name, text in CORPUS.items() if not any(gap.hit(wire(text)) for gap in gaps)}
    return {f"{name}@example.net": text for name, text in fitting.items()}


Feed = Callable[[Path, str, Mapping[str, bytes]], None]
"""Hands messages for an address over to a socket; each has a sender of its own, by which it is told from the others."""


def raw(where: Path, address: str, messages: Mapping[str, bytes]) -> None:
    """By DATA, with pipelining."""
    with RawLMTP(where).hello() as client:
        for sender, message in messages.items():
            assert client.begin([address], sender)[0].startswith(b"250")
            client.ok(b"DATA")
            client.send(_stuffed(message))
            reply = client.reply()
            assert reply.startswith(b"250 2."), reply
        client.quit()


def chunks(where: Path, address: str, messages: Mapping[str, bytes]) -> None:
    """By BDAT, in chunks that divide lines, line ends and dots."""
    with RawLMTP(where).hello() as client:
        for sender, message in messages.items():
            assert client.begin([address], sender)[0].startswith(b"250")
            octets = wire(message)
            size = max(1, len(octets) // 3)
            for start in range(0, len(octets), size):
                chunk = octets[start : start + size]
                client.send(b"BDAT %d\r\n%b" % (len(chunk), chunk))
                assert client.reply().startswith(b"250")
            assert client.command(b"BDAT 0 LAST").startswith(b"250 2.")
        client.quit()


def by_smtplib(where: Path, address: str, messages: Mapping[str, bytes]) -> None:
    """By Python's own client."""
    with smtplib.LMTP(str(where)) as client:
        for sender, message in messages.items():
            assert client.sendmail(sender, [address], wire(message), ["BODY=8BITMIME"]) == {}


def swaks(where: Path, address: str, messages: Mapping[str, bytes]) -> None:
    """By one process for each message, which sends what it is given."""
    for sender, message in messages.items():
        run(
            [
                *(path_of("swaks"), "--protocol", "LMTP", "--socket", str(where)),
                *("--from", sender, "--to", address, "--no-data-fixup", "--data", "-", "--suppress-data"),
            ],
            _stuffed(message),
        )


def deliver(where: Path, address: str, messages: Mapping[str, bytes]) -> None:
    """By our own command, from a pipe as programs write them here."""
    for sender, message in messages.items():
        run([*COMMAND, "--socket", str(where), "-f", sender, "--", address], message)


COMMAND: Final = (sys.executable, "-P", "-m", "mailserver", "deliver")


def run(command: list[str], stdin: bytes, status: int = 0) -> str:
    """Run a program to its end, which must be with this exit status; what it wrote."""
    ended = subprocess.run(
        command,
        input=stdin,
        capture_output=True,
        timeout=SECONDS,
        check=False,
        env={**os.environ, "PYTHONPATH": ROOT},
    )
    assert ended.returncode == status, (command, ended.returncode, ended.stdout[-2000:], ended.stderr[-2000:])
    return (ended.stdout + ended.stderr).decode()


def by_smtp(client: smtplib.SMTP, address: str, messages: Mapping[str, bytes]) -> None:
    """To a mail server, by SMTP."""
    with client:
        client.ehlo("client.example.net")
        for sender, message in messages.items():
            client.docmd(f"MAIL FROM:<{sender}> BODY=8BITMIME")
            client.docmd(f"RCPT TO:<{address}>")
            assert client.docmd("DATA")[0] == 354
            client.send(_stuffed(message))
            code, text = client.getreply()
            assert code == 250, text


DIRECT: Final[Mapping[str, Feed]] = {
    "raw": raw,
    "chunks": chunks,
    "smtplib": by_smtplib,
    "swaks": swaks,
    "deliver": deliver,
}
"""Those that are no mail servers, and leave nothing on top of a message."""
