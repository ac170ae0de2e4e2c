"""What ``mailserver check`` does: a start of all parts as the user that serves, without ports, and what came of it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from twisted.logger import ILogObserver, LogEvent, LogLevel
from twisted.python.failure import Failure
from zope.interface import implementer

from mailserver.cli import admin
from mailserver.config.kinds import KINDS, Listen, parts_of
from mailserver.config.problems import load_usable
from mailserver.errors import MaildropInUse, Refusal, StoreError, Unusable
from mailserver.foresight import seen
from mailserver.service.binding import check_endpoints
from mailserver.service.control import check_control
from mailserver.service.failures import report
from mailserver.service.reporting import sentence
from mailserver.service.server import Server
from mailserver.store.maildir.template import Template

_OURS: Final = os.path.dirname(Listen().control)  # noqa: PTH120 - of a text
"""The service's own folder, which the unit makes when it starts."""


@implementer(ILogObserver)
@dataclass(slots=True)
class Findings:
    """What was found, as an observer of the log, whose warnings are the parts' own."""

    problems: list[str] = field(default_factory=list)
    """What would keep the server from starting."""
    users: list[str] = field(default_factory=list)
    """What keeps single users from their mail."""
    warnings: list[str] = field(default_factory=list)
    status: int = os.EX_OK

    def __call__(self, event: LogEvent) -> None:
        """Note a warning."""
        level = event.get("log_level")
        if level is not None and level >= LogLevel.warn and (text := sentence(event)) not in self.warnings:
            self.warnings.append(text)

    def told(self) -> Iterator[tuple[str, Sequence[str]]]:
        """All of it, by what it is."""
        yield "problem", self.problems
        yield "user", self.users
        yield "warning", self.warnings


def run(path: str, user: str | None, *, users: bool) -> Findings:
    """Check the configuration at `path`, as `user` or else as its own; with `users`, also the maildrop of each."""
    findings = Findings()
    findings.status = admin.in_reactor(partial(_check, path, user, findings, users=users), findings)
    return findings


async def _check(path: str, user: str | None, findings: Findings, reactor: Any, *, users: bool) -> int:
    try:
        await _start(path, user, reactor, findings)
    except admin.Denied as error:
        findings.problems.append(str(error))
        return os.EX_NOPERM
    except Unusable as error:
        findings.problems += error.problems
        return os.EX_CONFIG
    except Exception:  # noqa: BLE001 - a fault
        return report(Failure())
    return await admin.attempt(path, user, partial(_look_at_all, findings), reactor) if users else os.EX_OK


async def _start(path: str, user: str | None, reactor: Any, findings: Findings) -> None:
    """Start and stop a server without ports. Errors: Denied; ConfigError, with all problems; faults."""
    config, problems = load_usable(path)
    server = Server(config, reactor, problems, sweeps=False)
    check_endpoints(config.listen, reactor, problems)
    check_control(config, reactor, problems)
    findings.warnings += _missing(config.listen, config.store.url)
    if problems.sound("user"):
        with problems.collect("user"):
            admin.take_rights(user or config.user)
    await server.start()
    await server.stop()


def _missing(listen: Listen, url: str) -> Iterator[str]:
    """The directories that must be there, and are not: somebody may still make or mount them, such as systemd (RuntimeDirectory=)."""
    for kind in KINDS:
        for endpoint in listen.of(kind):
            form, *parts = parts_of(endpoint.removeprefix("haproxy:"))
            folder = os.path.dirname(parts[0]) if form == "unix" and parts else ""  # noqa: PTH120 - as it is written
            if folder and folder != _OURS and not os.path.isdir(folder):  # noqa: PTH112 - the same
                yield f'listen.{kind}: "{endpoint}" needs the directory {folder}, which is not there'
    scheme, _, template = url.partition(":")
    with suppress(ValueError):  # a template that is none is a problem
        place = Template(template).common if scheme == "maildir" else ""
        if place and not os.path.isdir(place):  # noqa: PTH112 - the same
            yield f"store.url: {place} is not there, so no maildrop can be made in it: make it, or mount it"


async def _look_at_all(findings: Findings, maildrops: admin.Maildrops) -> int:
    statuses = [await _look_at(name, findings, maildrops) async for name in maildrops.names()]
    return admin.worst(statuses)


async def _look_at(name: str, findings: Findings, maildrops: admin.Maildrops) -> int:
    try:
        found = await maildrops.find(name)
        sight = None if found is None else await seen(maildrops.store, found)
        if sight is not None and sight.refusal is not None and not isinstance(sight.refusal, MaildropInUse):
            raise sight.refusal
        if found is not None:
            await maildrops.usage(found)
    except (StoreError, Refusal) as error:
        text, status = admin.excuse(error)
        findings.users.append(f"{name}: {text}")
        return os.EX_TEMPFAIL if status == os.EX_TEMPFAIL and isinstance(error, Refusal) else 1
    return os.EX_OK
