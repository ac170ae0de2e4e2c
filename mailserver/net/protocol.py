"""The POP3 protocol: how each of the session's effects is performed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, cast

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailserver.envelope import Envelope as Details
from mailserver.errors import (
    MessageGone,
    OutcomeUnknown,
    StoreError,
)
from mailserver.interfaces import IBody, IMaildrop
from mailserver.net.core import Core
from mailserver.net.entrance import Entrance
from mailserver.net.failures import translate
from mailserver.net.story import (
    UNSETTLED,
    end_of,
    tell_remark,
    tell_session,
    tell_tls_failure,
)
from mailserver.net.tls_transport import start_tls
from mailserver.net.transfer import SENDFILE_LEAST, FileSender, Transfer
from mailserver.protocol.effects import Close, Commit, Envelope, Retrieve, StartTLS, Turn
from mailserver.protocol.pop3 import Session

if TYPE_CHECKING:
    from mailserver.net.listener import POP3ServerFactory

log = Logger()


class POP3Server(Entrance):
    """One POP3 connection. What it needs of the world comes from its factory."""

    __slots__ = ("_committing", "deleted", "fetched", "retrieved")

    def __init__(self, factory: POP3ServerFactory, peer: str) -> None:
        super().__init__(factory, peer)
        self.retrieved = 0
        self.fetched: set[int] | None = None
        self.deleted: int | None = None  # until the UPDATE state has removed them
        self._committing = False

    def begin(self, *, tls: bool) -> Core:
        """Return the session that the listener's policy gives this client."""
        self.session = self.factory.session(self.peer, self, tls=tls)
        return self.session

    def perform(self, effect: Any) -> None:
        """Begin to do what the session asked for."""
        self.performers[type(effect)](self, effect)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Give everything back, and tell what an operator would want to know of a client that did not get in."""
        self.factory.ended(self)
        self.end(end_of(reason))
        if isinstance(reason.value, SSL.Error):
            tell_tls_failure(self, reason.value)
        remark = self.core.remark if isinstance(self.core, Session) else None
        if remark is not None:
            tell_remark(self, remark)
        super().connectionLost(reason)

    def leave(self) -> None:
        """Log out, and say in one line what the session did. A commit that has begun goes on: QUIT was read."""
        if self._logout is None or self._committing:
            return
        self._log_out()
        tell_session(self)

    # The effects.

    def _close(self, _: Close) -> None:
        refusal = self.core.closed_by if isinstance(self.core, Session) else None
        self.end("QUIT" if refusal is None else f"refusal: {refusal.line.decode('ascii')}")
        self.close()

    def _turn(self, _: Turn) -> None:
        self.after(0, self.session.turned)

    def _start_tls(self, _: StartTLS) -> None:
        self.flush()
        self.tls, self.plain, self._direct = True, False, False
        self.transport = start_tls(self.transport, self, cast(IOpenSSLServerConnectionCreator, self.factory.tls))
        self.session.tls_started()

    def _commit(self, effect: Commit) -> None:
        commit = self._drop.commit(effect.numbers)
        self._committing = True
        commit.addBoth(self._committed)
        self.wait(commit, lambda left: self._updated(len(effect.numbers), left), self._refused)

    def _committed(self, result: Any) -> Any:
        self._committing = False
        return result

    def _updated(self, marked: int, left: int) -> None:
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
        if isinstance(body, Deferred):
            self.wait(body, lambda opened: self._send(effect, opened), self._refused)
        else:
            self._send(effect, body)

    def _send(self, effect: Retrieve, body: IBody) -> None:
        if self.lost:
            body.close()
            return
        row = self.session.messages[effect.number - 1]
        self.session.opened()
        direct = self.plain and row.wire and effect.lines is None and row.octets >= SENDFILE_LEAST
        fileno = body.fileno() if direct else None
        if fileno is None:
            self.send(Transfer(body, lambda octets: self._sent(effect, octets), wire=row.wire, lines=effect.lines))
        else:
            self.send_file(
                FileSender(self.transport, body, fileno, row.octets, lambda octets: self._sent(effect, octets))
            )

    def _sent(self, effect: Retrieve, octets: int) -> None:
        if effect.lines is None:
            self.retrieved += 1
            if self.fetched is None:
                self.fetched = set()
            self.fetched.add(effect.number)
            self._drop.sent(effect.number, octets)
        self.session.sent()

    def _envelope(self, effect: Envelope) -> None:
        try:
            envelope = self._drop.envelope(effect.number)
        except StoreError:
            self._no_envelope(Failure())
            return
        if isinstance(envelope, Deferred):
            self.wait(envelope, self._enveloped, self._no_envelope)
        else:
            self._enveloped(envelope)

    def _enveloped(self, envelope: Details) -> None:
        self.session.enveloped(envelope.completed(self.user.encode("utf-8"), self.session.policy.hostname))

    def _no_envelope(self, failure: Failure) -> None:
        """A message that is gone gets an answer all the same: fetchmail reads no -ERR here. RETR will refuse it."""
        if failure.check(MessageGone):
            translate(failure, self.facts())
            self._enveloped(Details())
        else:
            self._refused(failure)

    performers: ClassVar[Mapping[type, Callable[[Any, Any], None]]] = {
        **Entrance.performers,
        Close: _close,
        Turn: _turn,
        StartTLS: _start_tls,
        Commit: _commit,
        Retrieve: _retrieve,
        Envelope: _envelope,
    }
