"""The log events of an LMTP session: one at the end of each transaction, and a summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from OpenSSL import SSL
from twisted.logger import Logger

from mailserver.errors import Refusal, WrongProtocol
from mailserver.net.failures import printable, tls_reason
from mailserver.smtp_errors import NotTrusted, TextAsCommands, TooBig

SHOWN: Final = 5
"""Recipients without the message whom one line names; the others are counted, and each has a line where the cause is."""

log = Logger()


@dataclass(slots=True)
class Envelope:
    """What is known of a transaction, for the log."""

    path: bytes
    road: str
    """Where it comes from, in words."""
    since: float
    recipients: list[bytes] = field(default_factory=list)
    """Those that were accepted."""
    refused: int = 0
    octets: int = 0


def outcome_of(refusal: Refusal | None) -> str:
    """What became of a recipient, in one word, by the code that the sender hears (RFC 3463)."""
    if refusal is None:
        return "delivered"
    _, _, code = refusal.smtp.partition(b" ")
    if code.endswith(b".2.2"):
        return "over_quota"
    if code == b"5.1.1":
        return "unknown"
    return "delayed" if code.startswith(b"4") else "refused"


def tell_given_up(facts: Mapping[str, Any], envelope: Envelope, *, ended: str, now: float) -> None:
    """Log a transaction that was given up, because it `ended` so.

    One that had no octet, such as a question for an address, is left to the session's summary.
    """
    if envelope.octets:
        log.info(
            "message of {sender!r} {road} was not delivered: {ended}, after {octets} octets for {recipients} recipients",
            event="lmtp.given_up",
            road=envelope.road,
            sender=printable(envelope.path),
            recipients=len(envelope.recipients),
            refused=envelope.refused,
            octets=envelope.octets,
            seconds=round(now - envelope.since, 3),
            ended=ended,
            **facts,
        )


def tell_delivered(
    facts: Mapping[str, Any], envelope: Envelope, outcomes: Sequence[Refusal | None], *, ended: str, now: float
) -> None:
    """Log what became of a message, with the outcome for each accepted recipient; `ended` tells of a connection that ended meanwhile."""
    failed = [
        f"{printable(address)}: {refusal.smtp.decode('ascii')} {refusal.said.decode('ascii')}"
        for address, refusal in zip(envelope.recipients, outcomes, strict=True)
        if refusal is not None
    ]
    names = "; ".join(failed[:SHOWN]) + (f"; and {len(failed) - SHOWN} others" if len(failed) > SHOWN else "")
    log.info(
        "message of {sender!r} {road} delivered to {delivered} of {recipients} recipients, {refused} refused: "
        "{octets} octets, {seconds} s{remarks}",
        event="lmtp.delivered",
        road=envelope.road,
        sender=printable(envelope.path),
        recipients=len(envelope.recipients),
        refused=envelope.refused,
        delivered=len(outcomes) - len(failed),
        failed=names,
        octets=envelope.octets,
        seconds=round(now - envelope.since, 3),
        ended=ended,
        remarks=(f", {ended}" if ended else "") + (f", NOT to {names}" if names else ""),
        **facts,
    )


def tell_session(  # noqa: PLR0913 - what the line says, each named
    facts: Mapping[str, Any],
    *,
    road: str,
    ended: str,
    client: str,
    messages: int,
    octets_in: int,
    octets_out: int,
    seconds: float,
) -> None:
    """Log a session's summary."""
    log.info(
        "session {session} of {client!r} {road} ({listener}, {security}) ended by {ended}: {messages} messages, "
        "{octets_in} octets in, {octets_out} out, {seconds} s",
        event="lmtp.session",
        road=road,
        security="TLS" if facts["tls"] else "no TLS",
        ended=ended,
        client=client,
        messages=messages,
        octets_in=octets_in,
        octets_out=octets_out,
        seconds=round(seconds, 3),
        **facts,
    )


def tell_tls_failure(facts: Mapping[str, Any], error: SSL.Error) -> None:
    """Log a failed handshake."""
    log.info("TLS with {peer} failed: {reason}", event="lmtp.tls_failed", reason=tls_reason(error), **facts)


def tell_remark(facts: Mapping[str, Any], road: str, remark: Refusal) -> None:
    """Log what an operator can mend, or should hear of, in what a client did."""
    log.info(
        "a sender {road} heard from {listener}: {reason}{hint}",
        event="lmtp.remark",
        road=road,
        reason=remark.said.decode("ascii"),
        hint=next((hint for kind, hint in _HINTS.items() if isinstance(remark, kind)), ""),
        **facts,
    )


_HINTS: Final[Mapping[type[Refusal], str]] = {
    WrongProtocol: ": it spoke TLS or HTTP, and TLS begins by STARTTLS here",
    NotTrusted: ": it used XCLIENT, and its network is not in delivery.xclients",
    TextAsCommands: ": it sent a message where DATA was refused, which may be somebody's attempt to smuggle commands in",
    TooBig: ": delivery.max_octets is the limit, and the sender returns the message to its author",
}


def tell_turned_away(*, listener: str, peer: str, reason: str, others: int, remarks: str) -> None:
    """Log a client that got no place, and the number of `others` before it."""
    log.info(
        "turned away a sender {road}: {reason}{remarks}",
        event="lmtp.turned_away",
        road=f"from {peer}" if peer else "over a Unix socket",
        listener=listener,
        peer=peer,
        reason=reason,
        others=others,
        remarks=remarks,
    )
