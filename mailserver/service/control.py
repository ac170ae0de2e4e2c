"""The socket for the operators' commands: bound with the ports, and served by each process that serves them.

All worker processes accept at the one path of `listen.control`; each has a socket of its own beside it, ``control.1``, where the others
ask it for its part of an answer. Whoever starts the server makes them all, since only he may write there, and the files outlive a
worker that dies.
"""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from twisted.logger import Logger

from mailserver.config.kinds import parts_of
from mailserver.config.problems import Problems
from mailserver.config.settings import Config
from mailserver.control.lines import numbered
from mailserver.control.port import ControlFactory, Question
from mailserver.errors import ConfigError
from mailserver.net.hub import loop_of
from mailserver.service.binding import CannotBind, Socket, adopted, bind_one, check_endpoint
from mailserver.service.closing import close_ports
from mailserver.service.legacy import Legacy

KIND: Final = "control"
"""Their name among the sockets."""

SETTING: Final = "listen.control"

log = Logger()


async def bind_control(config: Config, reactor: Any, workers: int = 0, legacy: Legacy | None = None) -> list[Socket]:
    """Bind the socket of all, and after it that of each of so many worker processes; those of a `legacy` are bound already.

    None where there is nobody to write to its folder, unless the settings ask for it. Errors: ConfigError; then none is bound.
    """
    endpoint = _endpoint(config.listen.control)
    if not endpoint:
        return []
    loop = loop_of(reactor)
    bound: list[Socket] = []
    try:
        for each in [endpoint, *(_private(endpoint, number) for number in range(1, workers + 1))]:
            passed = legacy.take(parts_of(each)[0]) if legacy else None
            if passed is not None:
                bound.append(adopted(KIND, parts_of(each)[0], passed, loop))
            else:
                made = await bind_one(KIND, _unix(each, config), reactor, loop, f"unix:{each}")
                bound.append(replace(made, endpoint=parts_of(each)[0]))
    except CannotBind as error:
        await close_ports(each.port for each in bound)
        if SETTING in config.places:
            raise ConfigError([f"{SETTING}: {error}"]) from None
        log.debug("operators' commands have no socket: {reason}", event="control.none", reason=str(error))
        return []
    return bound


def check_control(config: Config, reactor: Any, problems: Problems) -> None:
    """Add what is wrong with the setting itself, without binding."""
    if config.listen.control and SETTING in config.places and problems.sound("user"):
        with problems.collect(SETTING):
            check_endpoint(KIND, _unix(_endpoint(config.listen.control), config), reactor, SETTING)


def path_of(endpoint: str) -> str:
    """The path in the setting."""
    return re.sub(r"\\(.)", r"\1", parts_of(_endpoint(endpoint))[0])


def control_factories(
    questions: Mapping[str, Question], endpoint: str, reactor: Any, number: int = 0, workers: int = 0
) -> list[ControlFactory]:
    """What serves the socket of all, and, of worker `number`, then its own."""
    path = path_of(endpoint)
    others = {each: numbered(path, each) for each in range(1, workers + 1) if each != number}
    own = [ControlFactory(questions, numbered(path, number), reactor, private=True)] if number else []
    return [ControlFactory(questions, path, reactor, others), *own]


def _endpoint(given: str) -> str:
    """The setting as other kinds of ports have it, or without their ``unix:``. Errors: ConfigError."""
    endpoint = given.removeprefix("unix:")
    if endpoint and not endpoint.startswith("/"):
        raise ConfigError(
            [f'{SETTING}: "{given}" must begin with "/": the commands run in other folders than the server']
        )
    return endpoint


def _private(endpoint: str, number: int) -> str:
    """A worker's own socket, for nobody but the user that serves."""
    return numbered(parts_of(endpoint)[0], number)


def _is_known(user: str) -> bool:
    try:
        return bool(user and pwd.getpwnam(user))
    except KeyError:
        return False


def _unix(endpoint: str, config: Config) -> str:
    given = parts_of(endpoint)
    mode = "" if any(part.startswith("mode=") or "=" not in part for part in given[1:]) else ":mode=600"
    named = any(part.startswith("user=") for part in given)
    # A user who is not there is told by `user` itself.
    owner = f":user={config.user}" if not named and os.geteuid() == 0 and _is_known(config.user) else ""
    return f"unix:{endpoint}{mode}{owner}"
