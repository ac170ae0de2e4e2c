"""The server keeps its time though the machine's clock is set."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from twisted.internet.selectreactor import SelectReactor

from mailserver.clock import steady
from tests.rawpop3 import RawPOP3
from tests.servers import Server, Site

JUMPING = """
import signal, time

_wall, _back = time.time, [0.0]
time.time = lambda: _wall() - _back[0]
signal.signal(signal.SIGRTMIN, lambda *_: _back.__setitem__(0, 3600.0))
"""
"""Sets the clock of a Python process back by an hour when it is told to."""


def test_calls_come_in_their_time_though_the_wall_clock_is_set_back() -> None:
    wall, called = [1e9], []
    reactor = SelectReactor()
    reactor.seconds = lambda: wall[0]  # type: ignore[method-assign]
    reactor.callLater(0, called.append, "asked for before")
    later = reactor.callLater(3600, called.append, "much later")
    steady(reactor)
    reactor.callLater(0, called.append, "asked for after")
    wall[0] -= 3600
    reactor.runUntilCurrent()
    assert called == ["asked for before", "asked for after"]
    assert 3590 < later.getTime() - reactor.seconds() <= 3600
    later.reset(0)
    reactor.runUntilCurrent()
    assert called[2:] == ["much later"]
    reactor.removeAll()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_server_answers_on_though_its_clock_is_set_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    (tmp_path / "sitecustomize.py").write_text(JUMPING, encoding="ascii")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with Site() as site:
        alice = site.account("alice", messages=[b"a\n"])
        with (
            Server(site, workers=workers, limits={"failure_delay_seconds": 1}) as server,
            RawPOP3(server.pop3_port) as client,
        ):
            client.ok(b"USER alice")
            assert client.command(b"PASS wrong").startswith(b"-ERR")
            client.send(b"USER alice\r\nPASS " + alice.password.encode() + b"\r\n")
            assert client.line().startswith(b"+OK")  # so the next attempt is being held back
            for pid in (server.pid, *(event["pid"] for event in server.told("worker.serving"))):
                os.kill(pid, signal.SIGRTMIN)
            assert client.line().startswith(b"+OK")
            client.quit()
