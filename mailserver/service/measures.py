"""What is told of one process, as plain rows: what it has counted, and how it is now. Which metrics there are, `families` says.

Each process tells its own rows, and whoever was asked shows all of them, each with the number of its worker. A sum over workers would go
back when one of them dies, and then grow by all that the others have ever counted; by itself, a worker's series only begins anew, as
those of any process do that Prometheus knows.
"""

from __future__ import annotations

import resource
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from mailserver.config.kinds import KINDS
from mailserver.counts import Counts, Spread, Traffic
from mailserver.interfaces import IVerifiers
from mailserver.net.throttle import Throttle
from mailserver.pool import Pool
from mailserver.service.listeners import Listeners
from mailserver.service.process import began, descriptors, memory
from mailserver.tls.certificate_store import CertificateStore

Samples: TypeAlias = Iterable[tuple[Sequence[str], Any]]
"""The values of the labels, and the value: a number, or what `spread` makes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """The parts of a process that are measured."""

    counts: Counts
    listeners: Listeners
    throttle: Throttle
    certificates: Callable[[], CertificateStore | None]
    databases: Mapping[str, object] = field(default_factory=dict)
    """The checkers, by the names that they have here."""
    workers: int = 1
    began: float = field(default_factory=began)
    """When the process began; read once, since it must not change by a rounding."""

    def rows(self) -> Iterator[dict[str, Any]]:
        """A row for each metric that has a value."""
        self.counts.settle()
        for name, samples in self._all():
            found = [[list(labels), value] for labels, value in samples]
            if found:
                yield {"metric": name, "samples": found}

    def _all(self) -> Iterator[tuple[str, Samples]]:
        yield from self._of_traffic(self.counts.traffic)
        yield from self._of_logins()
        yield from self._of_states()
        yield "process_start_time_seconds", [((), self.began)]
        yield from _of_process()

    def _of_traffic(self, traffic: Mapping[str, Traffic]) -> Iterator[tuple[str, Samples]]:
        logging_in = {listener: each for listener, each in traffic.items() if KINDS[listener].login}
        bringing = {listener: each for listener, each in traffic.items() if not KINDS[listener].login}
        for shown, figures in ((traffic, _OF_ALL), (logging_in, _OF_LOGINS), (bringing, _OF_LMTP)):
            for name, figure in figures.items():
                yield name, [sample for listener, each in shown.items() for sample in _samples(listener, figure(each))]

    def _of_logins(self) -> Iterator[tuple[str, Samples]]:
        counts = self.counts
        yield "login_held_seconds", [((), spread(counts.waits))]
        yield "logins_held", [((), self.throttle.waiting)]
        yield "maildrop_open_seconds", [((), spread(counts.store.seconds))]
        yield "maildrop_open_errors", [((), counts.store.errors)]
        databases = counts.databases.items()
        yield "database_seconds", [((name,), spread(each.seconds)) for name, each in databases]
        yield "database_errors", [((name,), each.errors) for name, each in databases]
        yield "log_events", [(key, n) for key, n in counts.events.items()]

    def _of_states(self) -> Iterator[tuple[str, Samples]]:
        now: Counter[str] = Counter()
        for each in self.listeners.made:
            now[each.listener] += len(each.connections)
        yield "connections_open", [((listener,), n) for listener, n in now.items()]
        pools: dict[str, list[int]] = {}
        for pool in Pool.started:
            name, *figures = pool.standing  # a server before a reload may have one of the same name
            pools[name] = [a + b for a, b in zip(pools.get(name, [0] * 3), figures, strict=True)]
        for at, metric in enumerate(("pool_threads", "pool_busy", "pool_waiting")):
            yield metric, [((name,), figures[at]) for name, figures in sorted(pools.items())]
        yield "pool_refused", [((name,), Pool.refused[name]) for name in sorted({*pools, *Pool.refused})]
        yield "users", [((name,), n) for name, each in self.databases.items() if (n := _users(each)) is not None]
        store = self.certificates()
        pairs = () if store is None else store.loaded.pairs
        yield (
            "certificate_expiry_timestamp_seconds",
            [((str(at), name_of(pair)), pair.expires) for at, pair in enumerate(pairs, 1)],
        )
        yield "workers", [((), self.workers)]


def spread(values: Spread) -> list[float]:
    """A spread as a row has it: the numbers, and the sum at the end."""
    return [*values.numbers, values.sum]


def name_of(pair: Any) -> str:
    """One of a certificate's names, always the same."""
    return min(pair.names, default=b"").decode("ascii", "replace")


def _users(checker: object) -> int | None:
    """The number of users that a checker knows; None: it is not one that counts them."""
    if not IVerifiers.providedBy(checker):
        return None
    census = IVerifiers(checker).census()
    return census.users if census.uncounted is None else None


def _of_process() -> Iterator[tuple[str, Samples]]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    yield "process_cpu_seconds", [((), used.ru_utime + used.ru_stime)]
    yield "process_resident_memory_bytes", [((), memory())]
    yield "process_open_fds", [((), descriptors())]
    yield "process_max_fds", [((), resource.getrlimit(resource.RLIMIT_NOFILE)[0])]


def _samples(listener: str, figure: int | Spread | Mapping[Any, int]) -> Iterator[tuple[Sequence[str], Any]]:
    """A figure of a listener: a number, a spread, or numbers by one word or several."""
    if isinstance(figure, Spread):
        yield (listener,), spread(figure)
    elif isinstance(figure, int):
        yield (listener,), figure
    else:
        for words, number in figure.items():
            yield (listener, *((words,) if isinstance(words, str) else words)), number


Figures: TypeAlias = Mapping[str, Callable[[Traffic], int | Spread | Mapping[Any, int]]]

_OF_ALL: Final[Figures] = {
    "connections": lambda each: each.connections,
    "connections_turned_away": lambda each: each.turned_away,
    "received_bytes": lambda each: each.octets_in,
    "sent_bytes": lambda each: each.octets_out,
    "sessions": lambda each: each.sessions,
    "session_seconds": lambda each: each.seconds,
}

_OF_LOGINS: Final[Figures] = {
    "connections_without_login": lambda each: each.strangers,
    "authorization_seconds": lambda each: each.authorization,
    "logins": lambda each: each.logins,
    "login_seconds": lambda each: each.login,
    "messages_retrieved": lambda each: each.retrieved,
    "messages_deleted": lambda each: each.deleted,
    "messages_not_deleted": lambda each: each.marked,
    "sessions_fetching_again": lambda each: each.again,
    "update_seconds": lambda each: each.update,
}

_OF_LMTP: Final[Figures] = {
    "messages_delivered": lambda each: each.messages,
    "recipients": lambda each: each.recipients,
    "delivery_seconds": lambda each: each.message,
}
