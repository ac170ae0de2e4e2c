"""The server, for the thread of a test: starts and stops it, gives it users, and says what the clients did."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from ssl import SSLContext
from typing import Any, Final, Self, cast

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.defer import TimeoutError as LateAnswer
from twisted.internet.interfaces import IListeningPort
from twisted.python.failure import Failure

from mailserver.auth import MailboxRealm, Users, make_oracle, make_portal
from mailserver.interfaces import IPart, IStore
from mailserver.limits import Limits
from mailserver.store.memory import MemoryStore
from mailserver.testing.certificate import Certificate
from mailserver.testing.connections import Listener
from mailserver.testing.faults import Faults
from mailserver.testing.maildrops import Content, Maildrop, Maildrops
from mailserver.testing.records import ClientSession
from mailserver.testing.thread import ReactorThread
from mailserver.testing.users import KnownUsers

HOST: Final = "127.0.0.1"
"""Where it listens: nobody else reaches a server that lets in by a password such as "secret"."""

LIMITS: Final = Limits(failure_delay_seconds=0, connections_per_address=10_000)
"""A wrong password delays nobody, and all clients of a test are at one address."""


class Controller:
    """A POP3 server in a thread of this process, on a port that the kernel chooses at each `start`.

    With `tls` it is a POP3S server, else STLS is offered. `certificate` is the server's, by default one that all servers of the
    process share; `client_context` trusts it. Without `cleartext` passwords are refused before STLS. `mechanisms` are SASL mechanisms in
    their order, by default all. `checkers` of your own are asked before the server's users, and a `store` of your own has the
    mail of those whom they let in; it may be a function that makes one of the reactor, at each start.

    It is a context manager. What tests have put in, and the records of sessions, last until `reset`, over a `stop` and a new `start`.
    """

    def __init__(  # noqa: PLR0913 - settings by keyword, each with its default
        self,
        *,
        tls: bool = False,
        certificate: Certificate | None = None,
        cleartext: bool = True,
        mechanisms: Sequence[str] = (),
        checkers: Iterable[object] = (),
        store: object | Callable[[Any], object] | None = None,
    ) -> None:
        self.tls = tls
        self.certificate = certificate or Certificate.common()
        self.faults = Faults()
        self._cleartext = "always" if cleartext else "tls"
        self._mechanisms = tuple(mechanisms)
        self._make_store = store if callable(store) else None
        ready = MemoryStore() if store is None or callable(store) else store
        self._maildrops = Maildrops(cast("IStore", ready), self.faults)
        self._own: Sequence[Any] = tuple(checkers)
        self._users = Users([*self._own, KnownUsers(self._maildrops.users)])
        self._records: list[ClientSession] = []
        self._thread: ReactorThread | None = None
        self._running = ExitStack()  # what is to be ended, and in which order
        self.port = 0
        """The port; 0 while the server does not run."""

    host = HOST

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        where = f"on {self.host}:{self.port}" if self.port else "stopped"
        return f"<Controller of {'POP3S' if self.tls else 'POP3'}, {where}>"

    # Running.

    def start(self) -> None:
        """Listen; clients may connect as soon as this returns. Errors: those of your own parts' start."""
        if self._thread is not None:
            raise RuntimeError("the server runs already")
        with ExitStack() as begun:
            thread = ReactorThread()
            thread.start()
            begun.callback(thread.stop)
            if self._make_store is not None:
                self._maildrops.put_before(cast("IStore", thread.call(self._make_store, thread.reactor)))
            for part in self._parts():
                thread.call(part.start, thread.reactor)
                begun.callback(thread.call, part.stop)
            self._listener = listener = self._made(thread.reactor)
            self._socket: Any = thread.call(self._listen, listener, thread.reactor)
            begun.callback(thread.call, self._end)
            self._running = begun.pop_all()
        self.port, self._thread = self._socket.getHost().port, thread

    def stop(self) -> None:
        """Cut all sessions, stop your own parts, and end the thread; idempotent. Errors: those of a part's stop, at the end."""
        self._thread, self.port = None, 0
        self._running.close()

    def reset(self) -> None:
        """Cut all sessions, and forget users, mail, faults and records: for a server that several tests share."""
        if self._thread is not None:
            self._in_a_turn(self._listener.abort)
            self.settle()
        self.faults.clear()
        self._records.clear()
        self._maildrops.users.clear()

    def settle(self, seconds: float = 10) -> None:
        """Wait until the server has seen the end of every session: a client that leaves without QUIT does not wait for it.

        Errors: TimeoutError if one is still open then.
        """
        if self._thread is None:
            return
        try:
            self._in_a_turn(self._listener.over, seconds)
        except LateAnswer:
            left = sum(not each.ended for each in self._records)
            raise TimeoutError(f"sessions still open after {seconds} s: {left}") from None

    # What tests put in and look at.

    def user(self, name: str, password: str, messages: Iterable[Content] = (), *, token: str = "") -> Maildrop:
        """Add a user with messages. `token` is a bearer token, for SASL OAUTHBEARER and XOAUTH2."""
        if name in self._maildrops.users:
            raise ValueError(f"there is a user {name!r} already")
        maildrop = Maildrop(name, password, token, self._call)
        for message in messages:
            maildrop.add(message)
        self._maildrops.users[name] = maildrop
        return maildrop

    @property
    def sessions(self) -> list[ClientSession]:
        """The sessions so far, in the order in which the clients connected."""
        return list(self._records)

    @property
    def client_context(self) -> SSLContext:
        """For the client: it trusts the server's certificate alone, for the names of `Certificate`."""
        return self.certificate.client_context

    # Inside.

    def _parts(self) -> list[IPart]:
        return [each for each in (*self._own, self._maildrops) if IPart.providedBy(each)]

    def _made(self, reactor: Any) -> Listener:
        return Listener(
            make_portal(MailboxRealm(self._maildrops, self._users), self._users),
            oracle=make_oracle(self._users),
            clock=reactor,
            hostname="localhost",
            tls=self.certificate.server_contexts,
            cleartext=self._cleartext,
            limits=LIMITS,
            mechanisms=self._mechanisms,
            listener="pop3s" if self.tls else "pop3",
            faults=self.faults,
            records=self._records,
        )

    def _listen(self, listener: Listener, reactor: Any) -> IListeningPort:
        factory = listener.behind(tls=self.certificate.server_contexts if self.tls else None)
        port: IListeningPort = reactor.listenTCP(0, factory, interface=HOST)
        return port

    def _end(self) -> Deferred[Any]:
        closed: Deferred[Any] = maybeDeferred(self._socket.stopListening)
        self._listener.abort()
        return closed.addCallback(lambda _: self._listener.over())

    def _call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function that touches what the server uses: in its thread, while it runs."""
        if self._thread is not None:
            return self._thread.call(function, *args)
        outcome: list[Any] = []
        maybeDeferred(function, *args).addBoth(outcome.append)
        if isinstance(outcome[0], Failure):
            outcome[0].raiseException()
        return outcome[0]

    def _in_a_turn(self, function: Callable[..., Any], *args: Any) -> None:
        """Call it when the server has accepted the connections that the kernel has made before."""
        thread, turn = cast("ReactorThread", self._thread), Deferred[None]()
        later = thread.reactor.callFromThread
        later(later, turn.callback, None)  # the inner one is the next turn's
        thread.call(lambda: turn.addCallback(lambda _: function(*args)))
