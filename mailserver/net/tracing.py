"""Sessions that operators follow: what is said in them, from their beginning, although their user is named only later.

While somebody follows, new connections and those that have not logged in are tapped: their classes are others, which tell what happens
(`protocol.overheard` tells what is said), and a little of it is kept until it is known whose session it is. One that nobody wants is let be at its
login. So a session costs nothing when nobody follows, and after its login nothing when somebody follows another.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from typing import Any, Final, cast

from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from mailserver.net.connection import Connection
from mailserver.net.core import Core
from mailserver.net.held import Whom
from mailserver.net.listener import Listener
from mailserver.net.throttle import network
from mailserver.net.transfer import FileSender, Transfer
from mailserver.protocol.overheard import SERVER, let_be, overhear

NOTE: Final = "-"
"""Who says a line that is ours, about the session."""

KEPT_LINES: Final = 40
"""Lines of a session that are kept until its user is known, the latest: a client that tries three mechanisms first needs as many."""

LINE_OCTETS: Final = 275
"""What a kept line takes besides its letters, measured."""

KEPT_OCTETS: Final = 16 * 1024 * 1024
"""Octets of all that is kept: of 10,000 strangers five lines each. Then the oldest of a session goes for each new line."""

SLICE: Final = 200
"""Connections that are tapped at once: it takes them less than 5 ms."""

Row = dict[str, Any]
Say = Callable[[Row], object]


class Trace:
    """What one operator follows: sessions of a user, from an address or a network, or one session."""

    __slots__ = ("_say", "_whom", "watched")

    def __init__(self, name: str, say: Say) -> None:
        self._whom = Whom(name)
        self._say = say
        self.watched: set[Listener] = set()
        """Those whose connections were looked at."""

    def means(self, connection: Connection) -> bool:
        """Whether it is the session that was named."""
        return bool(self._whom.name == connection.facts()["session"])

    def wants(self, connection: Connection) -> bool:
        """Whether a connection is one of them, by what is known of it now."""
        facts, name = connection.facts(), self._whom.name
        if name in {facts["session"], facts["user"], facts["who"], facts["principal"]}:
            return True
        return facts["peer"] != "" and self._whom.holds(network(str(facts["peer"])))

    def wants_mail(self, recipients: Iterable[bytes]) -> bool:
        """Whether one of these is the user: his address, or one that is his name before the @."""
        addresses = [address.decode("utf-8", "replace") for address in recipients]
        return any(self._whom.name in (address, address.rpartition("@")[0]) for address in addresses)

    def say(self, connection: Connection, row: Row) -> None:
        """Tell the operator a line of a session."""
        facts = connection.facts()
        named = (
            connection.is_known or facts["user"] == self._whom.name
        )  # else it may be anything that a client has sent
        self._say({"session": facts["session"], "user": facts["who"] if named else "", **row})

    @property
    def name(self) -> str:
        """The name that the operator has given."""
        return self._whom.name


class Tap:
    """What is heard of one connection, and who follows it."""

    __slots__ = (
        "_connection",
        "_core",
        "_followers",
        "_kept",
        "_late",
        "_left_out",
        "_looked_at",
        "_named",
        "_tracing",
    )

    def __init__(self, tracing: Tracing, connection: Connection, *, late: bool) -> None:
        self._tracing = tracing
        self._connection = connection
        self._core: Core | None = None
        self._followers: dict[Trace, bool] = {}
        """Each with whether he follows the connection to its end; else to that of a delivery."""
        self._kept: deque[Row] = deque()
        self._left_out = 0
        self._late = late
        self._looked_at = 0
        """Recipients of the delivery under way that were looked at. There may be a thousand, each with lines of its own."""
        self._named = connection.is_known

    def hear(self, core: Core) -> None:
        """Hear a core."""
        self._core = core
        if not overhear(core, self.tell, self._tracing.names, self._between):
            self.tell(NOTE, "what is said before POP3 begins, with a Kerberos ticket, is not shown")

    def tell(self, who: str, text: str, **more: Any) -> None:
        """Tell a line to those who follow, and keep it for those who may turn out to want it."""
        recipients = self._connection.recipients or ()
        new = recipients[min(self._looked_at, len(recipients)) :]
        self._looked_at = len(recipients)
        for trace in self._tracing.traces:
            if trace not in self._followers and self._is_wanted(trace, new):
                self._begin(trace)
        if self._connection.is_known and not self._named:
            self._named = self._late = True  # for operators who come later
            self._forget()
            self.tell(NOTE, f"logged in as {self._connection.facts()['who']}")
        row = {"at": round(self._tracing.now(), 3), "from": who, "text": text, **more}
        for trace in self._followers:
            if trace in self._tracing.traces:  # else he has gone, which `look` has not seen yet
                trace.say(self._connection, row)
        if len(self._followers) < len(self._tracing.traces) and not self._connection.is_known:
            self._keep(row)

    def look(self) -> None:
        """Let the connection be, if nobody follows it, and nobody may want it later. No session is in the midst of anything now."""
        self._between()
        self._followers = {each: end for each, end in self._followers.items() if each in self._tracing.traces}
        if not self._followers and (self._connection.is_known or not self._tracing.traces):
            self.let_be()

    def ended(self) -> None:
        """Tell the end of the connection."""
        standing = self._connection.standing()
        numbers = [f"{standing[name]:,} {name}" for name in ("retrieved", "marked") if name in standing]
        numbers += [f"{standing['octets_in']:,} octets in", f"{standing['octets_out']:,} out"]
        text = f"ended by {self._connection.ended} after {standing['seconds']} s: {', '.join(numbers)}"
        self.tell(NOTE, text, ended=self._connection.ended)
        self.let_be()

    def let_be(self) -> None:
        """Hear no more of the connection."""
        self._forget()
        let_be(self._core)
        self._tracing.let_be(self._connection)

    # Inside.

    def _between(self) -> None:
        """Between two deliveries, show no more to who follows the first for its recipient: the next may come in the same read."""
        connection = self._connection
        if connection.takes_mail and connection.recipients is None:
            self._forget()
            for trace in [each for each, to_the_end in self._followers.items() if not to_the_end]:
                del self._followers[trace]
                trace.say(connection, self._end("the delivery is over"))

    def _is_wanted(self, trace: Trace, recipients: Iterable[bytes]) -> bool:
        connection = self._connection
        if self._named:  # a session of earlier, which another operator follows or has followed
            return trace.means(connection)
        return trace.wants(connection) or trace.wants_mail(recipients)

    def _begin(self, trace: Trace) -> None:
        connection = self._connection
        self._followers[trace] = trace.wants(connection)
        facts, seconds = connection.facts(), connection.clock.seconds() - connection.since
        where = f"{facts['listener']} from {facts['peer'] or 'this machine'}{', TLS' if facts['tls'] else ''}"
        late = f"; it began {seconds:.1f} s ago, and what was said before is not shown" if self._late else ""
        begin = {"at": round(self._tracing.now() - seconds, 3), "from": NOTE, "text": where + late}
        trace.say(connection, {**begin, "listener": facts["listener"], "peer": facts["peer"]})
        if self._left_out:
            trace.say(connection, {**begin, "text": f"({self._left_out:,} lines are left out)"})
        for row in self._kept:
            trace.say(connection, row)

    def _end(self, why: str) -> Row:
        return {"at": round(self._tracing.now(), 3), "from": NOTE, "text": why, "ended": why}

    def _keep(self, row: Row) -> None:
        """Keep a line, the latest ones of all."""
        self._kept.append(row)
        self._tracing.kept += _octets(row)
        while self._kept and (len(self._kept) > KEPT_LINES or self._tracing.kept > KEPT_OCTETS):
            self._tracing.kept -= _octets(self._kept.popleft())
            self._left_out += 1

    def _forget(self) -> None:
        self._tracing.kept -= sum(map(_octets, self._kept))
        self._kept.clear()
        self._left_out = 0


class Tracing:
    """What operators follow in this process."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self.now = now
        """Tells the time of day."""
        self.traces: set[Trace] = set()
        self.kept = 0
        """Octets of the lines that are kept."""
        self._listeners: set[Listener] = set()

    def names(self) -> set[str]:
        """The names that operators have given, which are shown wherever a client gives them as its own."""
        return {trace.name.casefold() for trace in self.traces}

    def begin(self, name: str, say: Say) -> Trace:
        """Follow the sessions of a user, an address, a network or a session. What they say comes once `watch` was called."""
        trace = Trace(name, say)
        self.traces.add(trace)
        return trace

    def end(self, trace: Trace) -> None:
        """Follow no more. Connections are let be when something happens to them."""
        self.traces.discard(trace)
        if not self.traces:
            for listener in self._listeners:
                vars(listener).pop("connection", None)
            self._listeners.clear()

    def watch(self, trace: Trace, listeners: Iterable[Listener]) -> Iterator[None]:
        """Tap what comes to listeners that are not watched yet. Other work has its turn at each step.

        Of the connections that are there, those are tapped whose user is not known yet, and the session that was named.
        """
        made = tuple(listeners)
        trace.watched.intersection_update(made)  # those that a reload has replaced go when their sessions have ended
        self._listeners.intersection_update(made)
        for listener in made:
            if listener in trace.watched:
                continue
            trace.watched.add(listener)
            vars(listener)["connection"] = partial(self._build, listener)
            self._listeners.add(listener)
            for number, connection in enumerate(tuple(listener.connections), 1):
                self._consider(trace, connection)
                if not number % SLICE:
                    yield
                    if trace not in self.traces:
                        return

    def _build(self, listener: Listener, peer: str) -> Connection:
        """What a listener builds while it is watched: the same, tapped."""
        made = type(listener).connection(listener, peer)
        self._tap(made, Tap(self, made, late=False))
        return made

    def _consider(self, trace: Trace, connection: Connection) -> None:
        if isinstance(connection, Tapped) or connection.lost:
            return
        if not connection.is_known or trace.means(connection):
            tap = Tap(self, connection, late=True)
            self._tap(connection, tap)
            tap.hear(connection.core)

    def _tap(self, connection: Connection, tap: Tap) -> None:
        connection.__class__ = _tapped(cast(Any, type(connection)))
        cast(Tapped, connection).tap = tap

    def let_be(self, connection: Connection) -> None:
        """Give a connection its own class back."""
        if isinstance(connection, Tapped):
            del connection.tap
            connection.__class__ = _plain(type(connection))


class Tapped:
    """A connection that tells its tap what happens: a base of a class that is its own one otherwise."""

    tap: Tap

    def begin(self, *, tls: bool) -> Core:
        """Hear the first core."""
        core: Core = super().begin(tls=tls)  # type: ignore[misc]  # the connection's, as everywhere here
        self.tap.hear(core)
        return core

    def change(self, core: Core) -> None:
        """Hear another core."""
        super().change(core)  # type: ignore[misc]
        self.tap.hear(core)

    def encrypt(self, creator: IOpenSSLServerConnectionCreator) -> None:
        """Tell that TLS begins."""
        tap = self.tap
        super().encrypt(creator)  # type: ignore[misc]
        tap.tell(NOTE, "TLS begins")

    def sent(self, body: Transfer | FileSender) -> None:
        """Tell of a message that was sent, but nothing of what it says."""
        lines = body.asked.lines
        what = f"{body.octets:,} octets of a message" if lines is None else f"a message's head and {lines:,} lines"
        self.tap.tell(SERVER, f"({what})")
        self.tap.tell(SERVER, ".")
        super().sent(body)  # type: ignore[misc]

    def flush(self) -> None:
        """Have a look at who follows when the replies have been told."""
        tap = self.tap
        super().flush()  # type: ignore[misc]
        tap.look()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell the end."""
        tap = self.tap
        try:
            super().connectionLost(reason)  # type: ignore[misc]
        finally:
            tap.ended()


def _octets(row: Row) -> int:
    return LINE_OCTETS + len(row["text"])


@cache
def _tapped(kind: Any) -> Any:
    """The class of a kind's connections while they are tapped."""
    return type(f"Tapped{kind.__name__}", (Tapped, kind), {"__slots__": (), "plain": kind})


def _plain(kind: Any) -> type:
    plain: type = kind.plain
    return plain
