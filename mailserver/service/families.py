"""The metrics: their names, what they mean, and their labels. docs/metrics.md is made of this.

The names are as Prometheus wants them: what is counted, then the unit, seconds and bytes without prefixes. No label has a value that a
client chooses; each has few values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from mailserver.counts import LONG, QUICK

WORKER: Final = "worker"
"""The label of every metric but a server's own: the number of the worker process, 0 where there is one process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A metric."""

    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    bounds: Sequence[float] = ()
    standard: bool = False
    """Whether its name is one that all programs have, and does not begin with ours."""

    def name(self, short: str) -> str:
        """Its whole name."""
        return f"{'' if self.standard else 'mailserver_'}{short}{'_total' if self.kind == 'counter' else ''}"


def _counter(text: str, *labels: str, standard: bool = False) -> Family:
    return Family(kind="counter", help=text, labels=labels, standard=standard)


def _gauge(text: str, *labels: str, standard: bool = False) -> Family:
    return Family(kind="gauge", help=text, labels=labels, standard=standard)


def _histogram(text: str, *labels: str, bounds: Sequence[float] = QUICK) -> Family:
    return Family(kind="histogram", help=text, labels=labels, bounds=bounds)


FAMILIES: Final[Mapping[str, Family]] = {
    # Connections and sessions.
    "connections": _counter("Connections that were accepted.", "listener"),
    "connections_turned_away": _counter(
        "Connections that found no place, by limits.connections and its like.", "listener"
    ),
    "connections_open": _gauge("Connections that are open now, logged in or not.", "listener"),
    "connections_without_login": _counter(
        "Connections that ended before anybody was logged in, by what ended them.", "listener", "ended"
    ),
    "sessions": _counter(
        "Sessions that have ended, by what ended them; of POP3, those of users who were logged in.", "listener", "ended"
    ),
    "session_seconds": _histogram("The time of sessions, from the connection to its end.", "listener", bounds=LONG),
    "authorization_seconds": _histogram(
        "The time from the connection until a user was logged in.", "listener", bounds=LONG
    ),
    "update_seconds": _histogram("The time that the deletions of a session took after QUIT.", "listener"),
    "received_bytes": _counter(
        "Octets from clients, without TLS's own, counted at the end of each connection.", "listener"
    ),
    "sent_bytes": _counter("Octets to clients, without TLS's own, counted at the end of each connection.", "listener"),
    # Messages.
    "messages_retrieved": _counter("Messages that were sent whole (RETR).", "listener"),
    "messages_deleted": _counter("Messages that were deleted at QUIT.", "listener"),
    "messages_not_deleted": _counter(
        "Messages that were marked by DELE, and stayed, because the session ended without QUIT.", "listener"
    ),
    "sessions_fetching_again": _counter(
        "Sessions that fetched every message, though their client had fetched some before.", "listener"
    ),
    # Logins.
    "logins": _counter("Attempts to log in, by the mechanism and the result.", "listener", "mechanism", "result"),
    "login_seconds": _histogram(
        "The time from the credentials to the answer, with all waiting and the opening of the maildrop.", "listener"
    ),
    "login_held_seconds": _histogram("How long attempts were held back that had to wait, because others had failed."),
    "logins_held": _gauge("Attempts that are held back now."),
    "maildrop_open_seconds": _histogram("The time that it took to open a maildrop, or to find that it cannot be."),
    "maildrop_open_errors": _counter(
        "Maildrops that could not be opened, by a fault of a disk and the like; not those in use."
    ),
    # Users.
    "users": _gauge("Users that a database knows, if it counts them.", "database"),
    "database_seconds": _histogram(
        "The time that questions to a database of users took, with the verification of passwords.", "database"
    ),
    "database_errors": _counter("Questions that a database of users could not answer.", "database"),
    # Mail that comes in.
    "messages_delivered": _counter("Messages that came in, and were stored for one recipient at least.", "listener"),
    "recipients": _counter(
        "Recipients of mail that came in, by the outcome: delivered, over_quota, unknown, delayed or refused.",
        "listener",
        "outcome",
    ),
    "delivery_seconds": _histogram("The time from a message's first recipient to the answer for it.", "listener"),
    # The server itself.
    "log_events": _counter(
        "Warnings and worse in the log, by level and event, as docs/logging.md has them.", "level", "event"
    ),
    "pool_threads": _gauge("Threads of a pool.", "pool"),
    "pool_busy": _gauge("Threads of a pool that work now.", "pool"),
    "pool_waiting": _gauge("Jobs that wait for a thread of a pool.", "pool"),
    "pool_refused": _counter("Jobs that a pool has turned away, because too many waited.", "pool"),
    "certificate_expiry_timestamp_seconds": _gauge(
        "When a certificate in use expires, in seconds since 1970; by its place in the settings, and one of its names.",
        "certificate",
        "name",
    ),
    "workers": _gauge("Processes that should serve, by the settings."),
    # What Prometheus' own clients tell of a process.
    "process_cpu_seconds": _counter("CPU time of the process.", standard=True),
    "process_resident_memory_bytes": _gauge("Resident memory of the process.", standard=True),
    "process_start_time_seconds": _gauge("When the process began, in seconds since 1970.", standard=True),
    "process_open_fds": _gauge("Open file descriptors of the process.", standard=True),
    "process_max_fds": _gauge("The limit of open file descriptors.", standard=True),
}
"""All metrics that a process has, by their short names. Each has the label `worker`, too."""

OF_SERVER: Final[Mapping[str, Family]] = {
    "worker_up": _gauge(
        "Whether a worker process has told its metrics this time: 1, or 0 if it is busy, ends or begins."
    ),
    "build_info": _gauge("Always 1; the labels tell the versions.", "version", "python", "twisted"),
}
"""What the process that was asked tells of all."""
