"""The log events of a POP3 session: a summary at its end, and remarks on misconfigured clients."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping
from typing import Any, Final

from OpenSSL import SSL
from twisted.logger import Logger

from mailserver.errors import NeedsTLS, Refusal, WrongProtocol
from mailserver.net.failures import printable, tls_reason
from mailserver.net.throttle import network
from mailserver.snapshot import Renewed, Snapshot

REMEMBERED: Final = 10_000
"""Clients whose last fetch is remembered: about two megabytes; the least recent go first."""

_LATELY: Final = 7 * 86_400
"""Seconds in which the clients of a user have looked for mail at least once, but for those that are away."""

UNSETTLED: Final = "QUIT, to be finished by the next login"
"""The end of a session with promised deletions that were not all made."""

log = Logger()


class Fetches:
    """The messages that each client (a user at an address) fetched last and left, to notice when it fetches all of them again."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._last: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._renewed: OrderedDict[tuple[str, str], Renewed] = OrderedDict()

    def renewed(self, user: str, peer: str, messages: Snapshot, fetched: Collection[int], now: float) -> str:
        """Why a session fetched again most of what its client had; "" unless it did, and the unique-ids had changed.

        Each client counts once for each change, and only for some days: a new client fetches all, too.
        """
        change, client = messages.renewed, (user, network(peer))
        if change is None or 2 * len(fetched) < len(messages) or not fetched or now - change.when > _LATELY:
            return ""
        if self._renewed.get(client) == change:
            return ""
        self._renewed[client] = change
        if len(self._renewed) > self._remembered:
            self._renewed.popitem(last=False)
        return change.reason

    def again(self, user: str, peer: str, messages: Snapshot, fetched: Collection[int], kept: Collection[int]) -> bool:
        """Whether a session fetched every message, including some that its client had fetched before; remembers `kept`."""
        if not fetched:
            return False
        client = user, network(peer)
        before = self._last.pop(client, None)
        if kept:
            self._last[client] = messages.uidls[max(kept) - 1]
            if len(self._last) > self._remembered:
                self._last.popitem(last=False)
        return before is not None and len(fetched) == len(messages) and before in messages.uidls


def tell_session(  # noqa: PLR0913 - what the line says, each named
    facts: Mapping[str, Any],
    *,
    ended: str,
    app: str,
    retrieved: int,
    deleted: int,
    marked: int,
    again: bool,
    octets_in: int,
    octets_out: int,
    seconds: float,
) -> None:
    """Log a session's summary.

    `marked` is the number of messages that it marked as deleted without effect; `app` the name of the app password, if it was one.
    """
    remarks = f", by the app password {app!r}" if app else ""
    remarks += f", {marked} marked but NOT deleted" if marked and ended != UNSETTLED else ""
    log.info(
        "session {session} of {who!r} from {peer} ({listener}, {security}) ended by {ended}: {retrieved} retrieved, "
        "{deleted} deleted{remarks}, {octets_in} octets in, {octets_out} out, {seconds} s",
        event="pop3.session",
        **facts,
        security="TLS" if facts["tls"] else "no TLS",
        ended=ended,
        app=app,
        retrieved=retrieved,
        deleted=deleted,
        marked=marked,
        uidl_all=again,
        remarks=remarks + (", uidl-all: fetched again what it had" if again else ""),
        octets_in=octets_in,
        octets_out=octets_out,
        seconds=round(seconds, 3),
    )


def tell_fetched_again(facts: Mapping[str, Any], *, reason: str, retrieved: int, messages: int) -> None:
    """Log that a client fetched again most of what it had, since the unique-ids had changed."""
    log.warn(
        "session {session} of {who!r} from {peer} fetched {retrieved} of {messages} messages again, because their unique-ids "
        "have changed: {reason} (docs/maildir.md, The durable map)",
        event="pop3.fetched_again",
        reason=reason,
        retrieved=retrieved,
        messages=messages,
        **facts,
    )


def tell_tls_failure(facts: Mapping[str, Any], error: SSL.Error) -> None:
    """Log a failed handshake: to the client it looks as if the server were down."""
    log.info("TLS with {peer} failed: {reason}", event="pop3.tls_failed", reason=tls_reason(error), **facts)


def tell_remark(facts: Mapping[str, Any], remark: Refusal) -> None:
    """Log how a client that could not log in should be configured."""
    if isinstance(remark, WrongProtocol):
        log.info(
            "{peer} spoke {spoken} to {listener}, which begins in plain text: clients set to TLS from the start belong on "
            "the port of pop3s",
            event="pop3.wrong_protocol",
            spoken=remark.protocol,
            **facts,
        )
    elif isinstance(remark, NeedsTLS):
        log.info(
            "{name!r} from {peer} was not asked for a password, for want of TLS: set the client to STARTTLS, or see "
            "auth.cleartext",
            event="pop3.needs_tls",
            name=printable(remark.user),
            **facts,
        )
