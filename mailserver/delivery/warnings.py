"""Warnings: what a user, or a program of the site's, hears when a delivery takes the maildrop over a share of its quota.

A crossing is told once: another follows when the maildrop was seen below the line again. The message itself counts for no quota, because it
is needed most where the last octets are gone, and is a page long.
"""

from __future__ import annotations

import shlex
import shutil
import time
from collections import OrderedDict
from collections.abc import Callable
from email.utils import make_msgid
from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredList, execute
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from mailserver.delivery.addresses import Address, parse_address
from mailserver.delivery.programs import Programs
from mailserver.delivery.quota import percent
from mailserver.delivery.trace import date, trace_fields
from mailserver.errors import StoreError, Unusable
from mailserver.incoming import IDeposits, Sender, Usage
from mailserver.interfaces import IPart, Quota, User
from mailserver.limits import QuotaRules

MAX_REMEMBERED: Final = 10_000
"""Maildrops over the line that a process remembers, some hundred octets each. One that is forgotten is warned again only if two deliveries
at once cross the line."""

TEXT: Final = """\
Your maildrop on {hostname} is {percent} % full.

It holds {octets} octets in {messages} messages{limits}. When it is
full, mail to you is refused. Fetch your mail and delete what you do not need: mail
programs have a setting such as "leave messages on server", which keeps all of it.
"""

log = Logger()


@implementer(IPart)
class Warnings:
    """The warnings of a site. Off where the rules have no percentage."""

    def __init__(
        self, store: IDeposits, rules: QuotaRules, hostname: str, wall: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._percent = rules.warn_percent
        self._command = shlex.split(rules.warn_command)
        self._hostname = hostname
        self._wall = wall
        self._programs: Programs | None = None
        self._told: OrderedDict[str, None] = OrderedDict()
        self._running: set[Deferred[None]] = set()

    def start(self, reactor: Any) -> Deferred[None]:
        """Find the program. Errors: Unusable."""
        return execute(self._start, reactor)

    def _start(self, reactor: Any) -> None:
        if self._percent and self._command:
            if shutil.which(self._command[0]) is None:
                raise Unusable(
                    f"no program {self._command[0]!r} can be run: give its whole path, and the right to run it"
                )
            self._programs = Programs(reactor, self._command)

    def reload(self) -> Deferred[None]:
        """Do nothing: the settings need a restart."""
        return execute(lambda: None)

    def stop(self) -> Deferred[None]:
        """End programs, and wait for messages that are being written."""
        if self._programs is not None:
            self._programs.stop()
        return DeferredList(list(self._running)).addCallback(lambda _: None)

    def seen(self, user: User, usage: Usage | None) -> None:
        """Learn the usage of a moment: a maildrop below the line can cross it again."""
        if usage is not None and user.quota is not None and percent(user.quota, usage) < self._percent:
            self._told.pop(user.name, None)

    def consider(self, user: User, before: Usage | None, octets: int) -> None:
        """Warn, soon, if a delivery of so many octets took the maildrop over the line. `before` is its usage before that."""
        if not self._percent or user.quota is None or before is None:
            return
        was = percent(user.quota, before)
        guess = percent(user.quota, Usage(before.messages + 1, before.octets + octets))
        if was >= self._percent or 2 * guess < self._percent:
            return  # far below the line, no other deliveries of the same moment reach it
        running = Deferred.fromCoroutine(self._consider(user, user.quota))
        self._running.add(running)
        running.addBoth(self._ended, running)

    def _ended(self, result: Failure | None, running: Deferred[None]) -> None:
        self._running.discard(running)
        if isinstance(result, Failure):
            log.failure("a warning of a full maildrop failed", failure=result, event="delivery.warning_fault")

    async def _consider(self, user: User, quota: Quota) -> None:
        try:
            usage = await self._store.usage(user)
            now = percent(quota, usage)
            if now < self._percent or user.name in self._told:
                return
            self._told[user.name] = None
            if len(self._told) > MAX_REMEMBERED:
                self._told.popitem(last=False)
            log.info(
                "the maildrop of {user} is {percent} % full",
                event="delivery.quota",
                user=user.name,
                percent=now,
                octets=usage.octets,
                messages=usage.messages,
            )
            if self._programs is not None:
                self._programs.run(user.name, now, usage)
            else:
                await self._write(user, quota, usage)
        except StoreError as error:
            log.warn(
                "{user} could not be warned of a full maildrop: {reason}",
                event="delivery.warning_failed",
                user=user.name,
                reason=str(error),
            )

    async def _write(self, user: User, quota: Quota, usage: Usage) -> None:
        """Put a message into the maildrop, whatever its quota says."""
        to = recipient_of(user)
        message = warning(to, self._hostname, quota, usage, self._wall())
        everybodys = User(user.name, home=user.home, mail=user.mail, account=user.account)
        deposit = await self._store.deposit([everybodys], len(message))
        written = deposit.write(message)
        if written is not None:
            await written
        (error,) = await deposit.commit()
        if error is not None:
            raise error


def recipient_of(user: User) -> Address:
    """Who is warned: the user; of an account (SDPS) its postmaster, since the quota is all users' together."""
    if user.account is not None:
        return Address("postmaster", user.account.domain or user.name)
    return parse_address(user.name) or Address(user.name)


def warning(to: Address, hostname: str, quota: Quota, usage: Usage, now: float) -> bytes:
    """The message, complete with the fields of its delivery; automatic, so that no vacation program answers it (RFC 3834)."""
    share = percent(quota, usage)
    limits = [f"{quota.octets} octets"] if quota.octets else []
    limits += [f"{quota.messages} messages"] if quota.messages else []
    text = TEXT.format(
        hostname=hostname,
        percent=share,
        octets=usage.octets,
        messages=usage.messages,
        limits=f"; it may hold {' and '.join(limits)}",
    )
    host = hostname.encode("ascii", "replace")
    sender = Sender(b"", host, "", b"LMTP", "", "", None)
    fields = [
        b"From: Mail system <postmaster@%b>" % host,
        b"To: %b" % (to if to.domain else to._replace(domain=hostname)).octets,
        b"Subject: Your maildrop is %d %% full" % share,
        b"Date: " + date(now),
        b"Message-ID: " + make_msgid("quota", hostname).encode("ascii", "replace"),
        b"Auto-Submitted: auto-generated",
        b"MIME-Version: 1.0",
        b"Content-Type: text/plain; charset=utf-8",
        b"Content-Transfer-Encoding: 8bit",
    ]
    lines = [*fields, b"", *text.encode("utf-8").splitlines()]
    return trace_fields(sender, hostname, now, to.octets) + b"\r\n".join(lines) + b"\r\n"
