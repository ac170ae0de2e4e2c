"""What ``mailserver explain`` does where no server runs: a start of all parts without ports, as the user that serves, and a walk."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from twisted.python.failure import Failure

from mailserver.cli import admin
from mailserver.cli.main import tell
from mailserver.config.kinds import KINDS
from mailserver.config.problems import load_usable
from mailserver.foresight import Attempt
from mailserver.service.explaining.walk import NoListener
from mailserver.service.failures import report
from mailserver.service.server import Server

Rows = list[dict[str, Any]]


def run(path: str, user: str | None, attempt: Mapping[str, Any], show: Callable[[Rows], int]) -> int:
    """Explain by the configuration at `path`, as `user` or else as its own, and show it; the exit status."""
    return admin.in_reactor(partial(_explain, path, user, Attempt(**attempt), show), admin.told)


async def _explain(path: str, user: str | None, attempt: Attempt, show: Callable[[Rows], int], reactor: Any) -> int:
    try:
        return show(await _rows(path, user, attempt, reactor))
    except admin.Denied as error:
        tell(f"mailserver: {error}")
        return os.EX_NOPERM
    except NoListener as error:
        tell(f"mailserver: {error}")
        return os.EX_USAGE
    except Exception:  # noqa: BLE001 - `report` distinguishes configuration errors and faults
        return report(Failure())


async def _rows(path: str, user: str | None, attempt: Attempt, reactor: Any) -> Rows:
    """What the doors say. Errors: Denied, ConfigError, NoListener; faults."""
    config, problems = load_usable(path)
    server = Server(config, reactor, problems, sweeps=False)
    if problems.sound("user"):
        with problems.collect("user"):
            admin.take_rights(user or config.user)
    await server.start()
    try:
        for kind in (each for each in KINDS.values() if each.login and not each.pages):
            for endpoint in config.listen.of(kind.name):
                server.factory(kind.name, endpoint)
        return (await server.explainer.explain(attempt, alone=True)).rows
    finally:
        await server.stop()
