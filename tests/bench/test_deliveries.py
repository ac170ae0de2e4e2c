"""The bench of deliveries: a short run, and its table."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench import deliveries, receivers, tools
from bench.deliveries import Figures, measure, run, table, usable


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Below it all work is done: a socket's path is short."""
    monkeypatch.setattr(receivers, "ROOT", Path("/tmp") / f"deliveries-{os.getpid()}")
    monkeypatch.setattr(tools, "ROOT", tmp_path)
    tools.make()
    yield receivers.ROOT
    assert list(receivers.ROOT.rglob("*/")) == [receivers.ROOT / "deliveries"], "each server removes what it had"
    (receivers.ROOT / "deliveries").rmdir()
    receivers.ROOT.rmdir()


@pytest.mark.usefixtures("folder")
def test_a_short_run_delivers_by_each_server_that_can_run():
    names = usable()
    if os.geteuid() == 0 and os.environ.get("TEST_PACKAGES") == "installed":
        assert "dovecot" in names, "dovecot-lmtpd is missing"
    names.remove("mailserver-2")
    found = run(names, [3], [1, 2], seconds=0.2, rounds=1)
    assert list(found) == ["3, 1", "3, 2"]
    for case in found.values():
        assert list(case) == names
        assert all(each.rate > 0 and each.cpu > 0 for each in case.values())


def test_what_was_answered_and_is_not_there_is_an_error(monkeypatch):
    server = SimpleNamespace(name="liar", messages=lambda: iter(()), account=SimpleNamespace(cpu_seconds=lambda: 0.0))
    monkeypatch.setattr(deliveries, "_run", lambda *_: 5)
    with pytest.raises(SystemExit, match="answered 5 deliveries, and 0 are there"):
        measure(server, 0, 1, 0.01)


def test_a_refusal_is_an_error():
    sender = object.__new__(deliveries.Sender)
    sender.socket = SimpleNamespace(recv=lambda _: b"250 ok\r\n452 no\r\n")
    with pytest.raises(SystemExit, match="refused"):
        sender.ready(more=True)


def test_the_table_has_ratios_to_dovecot():
    found = {
        "1, 1": {"dovecot": Figures(100, 2000), "mailserver": Figures(1200, 500)},
        "9, 1": {"mailserver": Figures(7, 8)},
    }
    assert table(found).splitlines()[2:] == [
        "| 1, 1 | dovecot | 100 | 1.0 | 2,000 us | 1.00 |",
        "| 1, 1 | mailserver | 1,200 | 12.0 | 500 us | 0.25 |",
        "| 9, 1 | mailserver | 7 |  | 8 us |  |",
    ]
