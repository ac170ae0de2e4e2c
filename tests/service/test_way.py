"""The way of a setting from its table to its use is short: whoever uses it is handed its table, and nothing is read off twice."""

from __future__ import annotations

import ast
import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.task import Clock

import mailserver
from mailserver.config.kinds import KINDS
from mailserver.config.problems import Problems
from mailserver.config.reading import decode
from mailserver.config.settings import Config
from mailserver.service.listeners import Listeners
from mailserver.service.server import Server
from tests.net.sessions import Talk

PACKAGE = Path(mailserver.__file__).parent

HANDED_ALL = {
    "cli/changes.py": {"Changes.read", "Changes._compared"},
    "service/control.py": {"bind_control", "check_control", "_unix"},
    "service/deliveries.py": {"make_deliveries"},
    "service/employee.py": {"Worker.__init__", "Worker.install"},
    "service/incumbent.py": {"Incumbent.prepare", "Incumbent.renew"},
    "service/kerberos.py": {"make_kerberos", "_gssapi"},
    "service/listeners.py": {"Listeners.__init__"},
    "service/mail.py": {"MailService.__init__", "MailService.renew"},
    "service/memories.py": {"Memories.made", "Memories.adjust"},
    "service/server.py": {"Server.__init__", "Server.successor"},
    "service/stores.py": {"make_store", "same_store", "_about_stores"},
    "service/workers.py": {"Workers.__init__", "Workers.renew"},
}
"""Who is handed all settings: who composes, who takes others at a reload, or who needs several tables of them."""


def handed_all(path: Path) -> set[str]:
    """The functions of a module with a parameter that is the whole of the settings."""
    tree = ast.parse(path.read_text())
    owners = {item: f"{node.name}." for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for item in node.body}
    return {
        owners.get(node, "") + node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for argument in (*node.args.args, *node.args.kwonlyargs)
        if argument.annotation is not None and ast.unparse(argument.annotation) == "Config"
    }


def test_only_who_composes_is_handed_all_settings() -> None:
    modules = [path for path in PACKAGE.rglob("*.py") if path.parent.name != "config"]
    found = {path.relative_to(PACKAGE).as_posix(): names for path in modules if (names := handed_all(path))}
    assert found == HANDED_ALL


def test_what_follows_from_the_settings_is_worked_out_once() -> None:
    settings = {"listen": {"pop3": ["tcp:0"]}, "auth": {"checkers": ["memory:a:b"]}, "store": {"url": "memory:"}}
    config = decode({**settings, "sdps": {"accounts": {"vision25": "vision25.example.org"}}})
    problems = Problems(config.places)
    watched = {Config.naming.__code__: "naming", Problems.__init__.__code__: "problems"}
    calls: Counter[str] = Counter()

    def profile(frame: FrameType, event: str, _argument: Any) -> None:
        if (
            event == "call" and frame.f_code in watched and frame.f_lasti <= 4
        ):  # a generator is called once, and resumed
            calls[watched[frame.f_code]] += 1

    sys.setprofile(profile)
    try:
        server = Server(config, reactor, problems)
        made = calls.copy()
        server.factory("pop3", "tcp:0")
    finally:
        sys.setprofile(None)
    assert made == {"naming": 1}
    assert calls - made == {"naming": 1}  # an endpoint may have a domain of its own


def test_what_capa_says_of_delays_comes_from_the_settings() -> None:
    settings = {"listen": {"pop3": ["tcp:0"]}, "auth": {"checkers": ["memory:a:b"]}, "store": {"url": "memory:"}}
    config = decode({**settings, "retention": {"login_delay_seconds": 60, "longest_login_delay_seconds": 900}})
    factory: Any = Server(config, Clock(), Problems(config.places)).factory("pop3", "tcp:0")
    talk = Talk(factory, logged_in=False)
    talk.say(b"CAPA\r\n")
    assert b"\r\nLOGIN-DELAY 900 USER\r\n" in talk.heard()


@pytest.mark.parametrize("kind", [kind for kind in KINDS.values() if not kind.pages], ids=lambda kind: kind.name)
def test_each_protocol_of_the_table_can_be_served(kind: Any) -> None:
    assert kind.protocol in Listeners._makers


def test_nothing_is_made_for_a_protocol_that_no_kind_speaks() -> None:
    assert Listeners._makers.keys() == {kind.protocol for kind in KINDS.values() if not kind.pages}
