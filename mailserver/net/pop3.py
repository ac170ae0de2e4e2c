"""A POP3 connection, which performs the session's effects."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from math import inf
from typing import Any, ClassVar, Protocol, cast

from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from mailserver.answers import ask, is_later
from mailserver.counts import Traffic, word_for
from mailserver.envelope import Envelope as Details
from mailserver.errors import MessageGone, OutcomeUnknown, StoreError
from mailserver.exchange import SaslContext
from mailserver.interfaces import IBody, IMaildrop, Mind
from mailserver.limits import Limits
from mailserver.net.connection import Connection
from mailserver.net.core import Core
from mailserver.net.door import Door, Visit
from mailserver.net.failures import end_of, login_result, translate
from mailserver.net.story import (
    UNSETTLED,
    Fetches,
    tell_fetched_again,
    tell_remark,
    tell_session,
    tell_tls_failure,
)
from mailserver.net.transfer import SENDFILE_LEAST, FileSender, Transfer
from mailserver.protocol.effects import Close, Commit, Envelope, Login, Retrieve, Sasl, StartTLS, Turn
from mailserver.protocol.pop3 import Session


class POP3Port(Protocol):
    """The methods that a POP3 connection calls on its listener."""

    clock: IReactorTime
    door: Door
    fetches: Fetches
    limits: Limits
    listener: str
    surroundings: Callable[[Any], SaslContext]
    """Answers the context of a new SASL exchange over a transport."""
    tls: IOpenSSLServerConnectionCreator | None
    traffic: Traffic | None

    def number(self) -> int:
        """Return a new session's number."""

    def name_of(self, number: int) -> str:
        """Return a session's name for the log."""

    def session(self, peer: str, connection: Any, *, tls: bool) -> Session:
        """Return a session with the greeting for this client."""

    def ended(self, connection: Connection) -> None:
        """Forget a connection that was lost."""


class POP3Server(Connection):
    """One POP3 connection. Its factory, a `POP3Port`, gives it everything it needs."""

    __slots__ = ("_committing", "_maildrop", "deleted", "factory", "fetched", "number", "retrieved", "session", "visit")

    session: Session

    def __init__(self, factory: POP3Port, peer: str) -> None:
        super().__init__(factory.clock, peer)
        self.factory: POP3Port = factory
        self.number = factory.number()
        self.visit = Visit(factory.door, peer)
        self.retrieved = 0
        self.fetched: set[int] | None = None
        self.deleted: int | None = None  # until the UPDATE state has removed them
        self._maildrop: IMaildrop | None = None
        self._committing = False

    @property
    def name(self) -> str:
        """The session's name in the log."""
        return self.factory.name_of(self.number)

    def facts(self) -> dict[str, Any]:
        """Return the fields of each of the session's events: the session, the client and the user."""
        user, principal = self.visit.user, self.visit.principal
        return {
            "session": self.name,
            "listener": self.factory.listener,
            "who": f"{user} ({principal})" if principal not in ("", user) else user,
            "user": user,
            "principal": principal,
            "peer": self.peer,
            "tls": self.tls,
        }

    @property
    def is_known(self) -> bool:
        """Whether somebody has logged in."""
        return self.visit.logout is not None

    def standing(self) -> dict[str, Any]:
        """As of any connection; with the messages that it has, has retrieved and has marked as deleted, once its maildrop is open."""
        if self._maildrop is None:
            return super().standing()
        session = self.session
        messages = {"messages": len(session.messages), "retrieved": self.retrieved, "marked": len(session.deleted)}
        return {**super().standing(), **messages}

    def allowed_seconds(self) -> float:
        """The idle time after the login; before it, only `stranger_seconds` counts."""
        limits = self.factory.limits
        return limits.login_seconds if self._maildrop is None else limits.idle_seconds

    def stranger_seconds(self) -> float:
        """The time from the connection to the login: a guesser cannot extend it by sending or reading slowly."""
        return self.factory.limits.login_seconds if self._maildrop is None else inf

    def readConnectionLost(self) -> None:
        """Give up the turn of a client that has closed its side while it waits."""
        super().readConnectionLost()
        self.visit.give_up_turn()

    def drain(self) -> None:
        """Close as soon as nothing is under way; waiting for a turn does not count."""
        super().drain()
        self.visit.give_up_turn()

    def surroundings(self) -> SaslContext:
        """Return the context of a SASL exchange that begins now: STLS changes it. As a method it takes 80 octets of each session."""
        return self.factory.surroundings(self.transport)

    def begin(self, *, tls: bool) -> Core:
        """Return the session that the listener's policy gives this client."""
        self.session = self.factory.session(self.peer, self, tls=tls)
        return self.session

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Release everything, and log a misconfigured client that could not log in."""
        self.end(end_of(reason))
        if self._maildrop is None and self.factory.traffic is not None:
            self.factory.traffic.strangers[word_for(self.ended)] += 1
        try:
            if isinstance(reason.value, SSL.Error):
                tell_tls_failure(self.facts(), reason.value)
            remark = self.core.remark if isinstance(self.core, Session) else None
            if remark is not None:
                tell_remark(self.facts(), remark)
            self.visit.leave()
            super().connectionLost(reason)
        finally:
            # The last one ends a drain, and then what this one still has to release itself with.
            self.factory.ended(self)

    def leave(self) -> None:
        """Log out, and log one line about the session. A commit that has begun goes on, since QUIT was read."""
        if self.visit.logout is None or self._committing:
            return
        facts, fetched, marked = self.facts(), self.fetched or set(), self.session.deleted
        self.visit.log_out(facts)
        kept, deleted, left = (fetched, 0, len(marked)) if self.deleted is None else (fetched - marked, self.deleted, 0)
        again = self.factory.fetches.again(self.visit.user, self.peer, self.session.messages, fetched, kept)
        seconds = self.clock.seconds() - self.since
        traffic = self.factory.traffic
        if traffic is not None and self._maildrop is not None:
            traffic.session(self.ended, seconds, retrieved=self.retrieved, deleted=deleted, marked=left, again=again)
        tell_session(
            facts,
            ended=self.ended,
            app=self.session.terms.secret,
            octets_in=self.octets_in,
            octets_out=self.octets_out,
            seconds=seconds,
            retrieved=self.retrieved,
            deleted=deleted,
            marked=left,
            again=again,
        )
        if self.session.messages.renewed is not None:
            self._tell_renewed(facts, fetched)

    def _tell_renewed(self, facts: dict[str, Any], fetched: set[int]) -> None:
        messages = self.session.messages
        reason = self.factory.fetches.renewed(self.visit.user, self.peer, messages, fetched, time.time())
        if reason:
            tell_fetched_again(facts, reason=reason, retrieved=len(fetched), messages=len(messages))

    # The effects.

    def _close(self, _: Close) -> None:
        refusal = self.core.closed_by if isinstance(self.core, Session) else None
        self.end("QUIT" if refusal is None else f"refusal: {refusal.line.decode('ascii')}")
        self.close()

    def _turn(self, _: Turn) -> None:
        self.after(0, self.session.turned)

    def _start_tls(self, _: StartTLS) -> None:
        self.encrypt(cast(IOpenSSLServerConnectionCreator, self.factory.tls))
        self.session.tls_started()

    def _sasl(self, effect: Sasl) -> None:
        began = 0.0 if self.factory.traffic is None else self.clock.seconds()
        refused = partial(self._not_let_in, None, began)
        self.attend(self.session.answered, refused, self.visit.ask, effect.request)
        self._give_up_turn()

    def _login(self, effect: Login) -> None:
        mind = Mind(self.peer, self.session.tls, self.factory.listener, self.name)
        began = 0.0 if self.factory.traffic is None else self.clock.seconds()
        refused = partial(self._not_let_in, effect.mechanism, began)
        self.attend(
            partial(self._let_in, mind, effect.mechanism, began), refused, self.visit.log_in, effect.credentials, mind
        )
        self._give_up_turn()

    def _give_up_turn(self) -> None:
        """Stop waiting for a turn when the client no longer waits; a verification that runs goes on."""
        if self._half_closed or self.draining:
            self.visit.give_up_turn()

    def _let_in(self, mind: Mind, mechanism: bytes, began: float, maildrop: IMaildrop) -> None:
        if self.lost:
            self.leave()
            return
        self._maildrop = maildrop
        traffic = self.factory.traffic
        if traffic is not None:
            now = self.clock.seconds()
            traffic.answered(mechanism, "granted", now - began)
            traffic.authorization.add(now - self.since)
        self.trust()
        self.session.login_ok(maildrop.messages, mind.terms)

    def _not_let_in(self, mechanism: bytes | None, began: float, failure: Failure) -> None:
        traffic, tried = self.factory.traffic, mechanism or self.session.mechanism
        if traffic is not None:
            traffic.answered(tried, login_result(failure.value), self.clock.seconds() - began)
        self.session.refused(self.visit.refuse(failure, self.facts(), mechanism, tried))

    def _commit(self, effect: Commit) -> None:
        drop, self._committing = self._drop, True
        began = 0.0 if self.factory.traffic is None else self.clock.seconds()
        updated = partial(self._updated, len(effect.numbers), began)
        self.attend(updated, self._not_updated, ask, drop.commit, effect.numbers, revocable=False)

    def _not_updated(self, failure: Failure) -> None:
        self._committing = False
        self._refused(failure)

    def _updated(self, marked: int, began: float, left: int) -> None:
        self._committing = False
        if self.factory.traffic is not None:
            self.factory.traffic.update.add(self.clock.seconds() - began)
        self.deleted, self.ended = marked - left, "QUIT"
        self.session.committed(left)
        if self.lost:
            self.leave()

    def _refused(self, failure: Failure) -> None:
        if failure.check(OutcomeUnknown):
            self.ended = UNSETTLED
        self.session.refused(translate(failure, self.facts()))
        if self.lost:
            self.leave()

    @property
    def _drop(self) -> IMaildrop:
        if self._maildrop is None:
            raise RuntimeError("no maildrop is open")
        return self._maildrop

    def _retrieve(self, effect: Retrieve) -> None:
        try:
            body = self._drop.fetch(effect.number)
        except StoreError:
            self._refused(Failure())
            return
        if is_later(body):
            self.wait(body, lambda opened: self._send(effect, opened), self._refused)
        else:
            self._send(effect, body)

    def _send(self, effect: Retrieve, body: IBody) -> None:
        if self.lost:
            body.close()
            return
        messages, index = self.session.messages, effect.number - 1
        wire, octets = bool(messages.wire[index]), messages.octets[index]
        self.session.opened()
        direct = wire and self.plain and effect.lines is None and octets >= SENDFILE_LEAST
        fileno = body.fileno() if direct else None
        if fileno is None:
            self.send(Transfer(body, effect, wire=wire, lines=effect.lines))
        else:
            self.send_file(FileSender(self.transport, body, fileno, octets, effect))

    def sent(self, body: Transfer | FileSender) -> None:
        """Count a message that was retrieved, tell the maildrop, and go on."""
        effect: Retrieve = body.asked
        if effect.lines is None:
            self.retrieved += 1
            if self.fetched is None:
                self.fetched = set()
            self.fetched.add(effect.number)
            if not self.session.terms.read_only:
                self._drop.sent(effect.number, body.octets)
        self.session.sent()

    def _envelope(self, effect: Envelope) -> None:
        try:
            envelope = self._drop.envelope(effect.number)
        except StoreError:
            self._no_envelope(Failure())
            return
        if is_later(envelope):
            self.wait(envelope, self._enveloped, self._no_envelope)
        else:
            self._enveloped(envelope)

    def _enveloped(self, envelope: Details) -> None:
        self.session.enveloped(envelope.completed(self.visit.user.encode("utf-8"), self.session.policy.hostname))

    def _no_envelope(self, failure: Failure) -> None:
        """Answer with the default envelope for a message that is gone: fetchmail expects no -ERR here. RETR refuses it."""
        if failure.check(MessageGone):
            translate(failure, self.facts())
            self._enveloped(Details())
        else:
            self._refused(failure)

    performers: ClassVar[Mapping[type, Callable[[Any, Any], None]]] = {
        Close: _close,
        Sasl: _sasl,
        Login: _login,
        Turn: _turn,
        StartTLS: _start_tls,
        Commit: _commit,
        Retrieve: _retrieve,
        Envelope: _envelope,
    }
