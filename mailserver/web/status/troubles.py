"""What failed in the last hour, and why: events of the log in groups, in a memory with a bound."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from twisted.logger import LogEvent, LogLevel, formatEvent

from mailserver.reasons import of_event
from mailserver.web.status.history import Minutes

KEPT: Final = 500
"""Groups: half a megabyte. A guesser with a name for each attempt fills them; then those that were seen longest ago go, and are counted."""
HOUR: Final = 60
"""Minutes."""
LONGEST: Final = 250
"""Characters of a text: what the log keeps of a string, too."""

_BUSY: Final = "raise the limit if these are clients; for strangers see docs/logging.md, fail2ban"

HEADINGS: Final[Mapping[str, tuple[str, str]]] = {
    "pop3.login_held": ("login not tried", ""),
    "pop3.login_delayed": ("login too early", ""),
    "pop3.login_put_off": ("login put off", ""),
    "pop3.needs_tls": ("no password without TLS", ""),
    "pop3.tls_failed": ("no TLS", ""),
    "pop3.wrong_protocol": ("wrong protocol", ""),
    "pop3.turned_away": ("turned away", _BUSY),
    "kpop.turned_away": ("turned away", "set the client to KPOP, or to the port of pop3"),
    "kerberos.refused": ("ticket refused", ""),
    "auth.homeless": ("no maildrop", ""),
    "auth.unserved": ("no maildrop", ""),
    "store": ("maildrop", ""),
    "truncated": ("message cut short", "the file is shorter than it was: see the disk, and what else writes there"),
    "proxy.refused": ("turned away", "name the proxy in limits.proxies, if it is one of yours"),
    "delivery.refused": ("recipient refused", ""),
    "delivery.failed": ("not delivered", "the sending mail server tries again, or tells the sender"),
    "delivery.unserved": ("not delivered", ""),
    "lmtp.given_up": ("not delivered", "the sending mail server tries again"),
    "lmtp.tls_failed": ("no TLS", "see the certificate, and tls.profile"),
    "lmtp.turned_away": ("turned away", _BUSY),
    "web.refused": ("page refused", "who asks needs the token in web.token_file; nobody should ask who has none"),
    "worker.ended": ("process died", "see the log: it is replaced by itself"),
    "service.reload_refused": ("settings refused", "correct them, and reload again: until then the old ones hold"),
    "restart.refused": ("no restart", ""),
    "restart.failed": ("no restart", "the server goes on as it was"),
    "fault": ("fault", "see the traceback in the log, and report it"),
}
"""What an event is called, and what helps where neither it nor its reason knows. Of others, what has refused a login is told, and warnings and errors."""

_MINDED: Final = frozenset({LogLevel.warn, LogLevel.error, LogLevel.critical})


class Group(NamedTuple):
    """Failures that are the same but for their time."""

    what: str
    who: str
    peer: str
    why: str
    help: str


class _Seen:
    """When a group was seen."""

    __slots__ = ("last", "minutes")

    def __init__(self) -> None:
        self.minutes = Minutes(HOUR)
        self.last = 0.0


class Troubles:
    """The groups of one process. Times are seconds since the epoch."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._groups: OrderedDict[Group, _Seen] = OrderedDict()
        self._forgotten = Minutes(HOUR)

    def note(self, event: LogEvent) -> None:
        """Take notice of an event of the log."""
        group = group_of(event)
        if group is not None:
            self.add(group, event["log_time"], times_of(event), event["log_time"])

    def add(self, group: Group, when: float, times: int, now: float) -> None:
        """Take notice of what was seen so often, the last time at `when`; not of what is older than an hour."""
        if when < now - HOUR * 60:
            return
        seen = self._groups.pop(group, None) or _Seen()
        self._groups[group] = seen
        seen.last = max(seen.last, when)
        seen.minutes.add(int(when // 60), times)
        if len(self._groups) > self._kept:
            _, gone = self._groups.popitem(last=False)
            self._forgotten.add(int(now // 60), _sum(gone, int(now // 60)))

    def rows(self, now: float, limit: int) -> list[dict[str, Any]]:
        """The groups of the last hour, the latest first; older ones are forgotten."""
        minute = int(now // 60)
        for group in [each for each, seen in self._groups.items() if seen.last < now - HOUR * 60]:
            del self._groups[group]
        latest = list(reversed(self._groups.items()))[:limit]
        return [{**group._asdict(), "times": _sum(seen, minute), "last": seen.last} for group, seen in latest]

    def total(self, now: float) -> int:
        """The failures of the last hour, also those whose group had no room."""
        minute = int(now // 60)
        return _added(self._forgotten, minute) + sum(_sum(seen, minute) for seen in self._groups.values())


def times_of(event: LogEvent) -> int:
    """How often it has happened that an event tells of."""
    return 1 + int(event.get("others", 0))


def group_of(event: LogEvent) -> Group | None:
    """The group of an event; None: nothing failed."""
    name = event.get("event")
    if not isinstance(name, str):  # another program's, or a library's
        name = ""
    if name == "pop3.session":
        return _of_session(event)
    reason, minded = of_event(event), event.get("log_level") in _MINDED
    if not (name in HEADINGS or reason or minded):
        return None
    warned = "warning" if event.get("log_level") is LogLevel.warn else "error"
    what, remedy = HEADINGS.get(name, ("login refused" if reason else warned, ""))
    why = event.get("reason") or (reason.words if reason else event.get("ended") or formatEvent(event))
    helps = event.get("hint") or (reason.remedy if reason else event.get("remedy") or remedy)
    who = event.get("who") or event.get("user") or event.get("recipient") or ""
    return _group(what, who, event.get("peer", ""), why, helps)


def _of_session(event: LogEvent) -> Group | None:
    """A session that ended so that its client gets the same mail again, which its user will ask about."""
    if event["marked"]:
        why = f"ended by {event['ended']}: messages were marked, and NOT deleted"
        return _group(
            "no deletion", event["who"], event["peer"], why, "the client has to end by QUIT; it will fetch them again"
        )
    if event["uidl_all"]:
        why = "fetched every message, also what it had before"
        return _group(
            "fetched again",
            event["who"],
            event["peer"],
            why,
            "see whether the client keeps a list of what it has fetched",
        )
    return None


def _group(*texts: object) -> Group:
    return Group(*(str(each)[:LONGEST] for each in texts))


def _sum(seen: _Seen, minute: int) -> int:
    return _added(seen.minutes, minute)


def _added(minutes: Minutes, minute: int) -> int:
    return int(sum(value or 0 for value in minutes.last(minute)))
