from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.logger import LogLevel, globalLogPublisher

from mailserver.net.certificates import CertificateFiles
from mailserver.net.renewal import DAY, CertificateWatch
from mailserver.net.tls import CertificateStore
from tests.net.handshakes import common_name, connect, write_pair

NOW = datetime(2026, 6, 1, tzinfo=UTC)


class Watched:
    """A store on files in a folder, watched by an injected clock, and what is logged meanwhile."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.events: list[dict[str, object]] = []
        self.clock = Clock()
        self.store = CertificateStore([self.write("first.example.org")])
        self.watch = CertificateWatch(
            self.store, self.clock, maybeDeferred, 60, lambda: NOW.timestamp() + self.clock.seconds()
        )

    def write(self, name: str, stem: str = "live", days: int = 90) -> CertificateFiles:
        return write_pair(self.folder, stem, [name], start=NOW, days=days)

    def poll(self, times: int = 1) -> None:
        for _ in range(times):
            self.clock.advance(60)

    @property
    def served(self) -> str:
        return common_name(connect(self.store))

    def logged(self, event: str) -> list[dict[str, object]]:
        return [e for e in self.events if e.get("event") == event]


@pytest.fixture
def watched(tmp_path: Path) -> object:
    made = Watched(tmp_path)
    globalLogPublisher.addObserver(made.events.append)
    made.watch.start()
    yield made
    made.watch.stop()
    globalLogPublisher.removeObserver(made.events.append)
    assert made.clock.getDelayedCalls() == []


def test_a_renewed_certificate_is_served_after_the_next_poll(watched: Watched) -> None:
    assert watched.served == "CN=first.example.org"
    watched.write("second.example.org")
    watched.poll()
    assert watched.served == "CN=second.example.org"
    assert len(watched.logged("tls.loaded")) == 1


def test_files_that_do_not_change_are_not_loaded_again(watched: Watched) -> None:
    before = watched.store.loaded
    watched.poll(5)
    assert watched.store.loaded is before
    assert not watched.logged("tls.loaded")


def test_a_broken_certificate_is_reported_once_and_the_old_one_kept(watched: Watched) -> None:
    (watched.folder / "live.pem").write_bytes(b"broken")
    watched.poll(10)
    assert watched.served == "CN=first.example.org"
    (report,) = watched.logged("tls.broken")
    assert report["log_level"] is LogLevel.error
    assert report["file"] == str(watched.folder / "live.pem")
    assert report["remedy"]


def test_each_new_way_of_being_broken_is_reported(watched: Watched) -> None:
    (watched.folder / "live.pem").write_bytes(b"broken")
    watched.poll(5)
    (watched.folder / "live.pem").unlink()
    watched.poll(5)
    assert [report["reason"] for report in watched.logged("tls.broken")] == [
        "holds no readable PEM certificate",
        "no such file",
    ]


def test_a_chain_replaced_a_moment_before_its_key_is_not_reported(watched: Watched) -> None:
    renewed = watched.write("second.example.org", "renewed")
    shutil.copy(renewed.certificate, watched.folder / "live.pem")
    watched.poll()
    assert watched.served == "CN=first.example.org"
    shutil.copy(renewed.key, watched.folder / "live.key")
    watched.poll()
    assert watched.served == "CN=second.example.org"
    assert not watched.logged("tls.broken")


def test_what_was_repaired_and_breaks_again_is_reported_again(watched: Watched) -> None:
    for _ in range(2):
        (watched.folder / "live.pem").write_bytes(b"broken")
        watched.poll(2)
        watched.write("second.example.org")
        watched.poll()
    assert len(watched.logged("tls.broken")) == 2
    assert watched.served == "CN=second.example.org"


def test_a_reload_reports_at_once_and_the_polls_after_it_do_not_repeat_it(watched: Watched) -> None:
    (watched.folder / "live.key").write_bytes(b"broken")
    watched.watch.reload()
    assert len(watched.logged("tls.broken")) == 1
    watched.poll(5)
    assert len(watched.logged("tls.broken")) == 1


def test_a_reload_loads_what_did_not_change_too(watched: Watched) -> None:
    before = watched.store.loaded
    watched.watch.reload()
    assert watched.store.loaded is not before
    assert len(watched.logged("tls.loaded")) == 1


def test_ticket_keys_are_renewed_daily_without_a_word(watched: Watched) -> None:
    before = watched.store.loaded
    watched.clock.advance(DAY)
    assert watched.store.loaded is not before
    assert not watched.logged("tls.loaded")


def test_an_expiry_is_warned_of_from_two_weeks_before_once_a_day(watched: Watched) -> None:
    watched.clock.pump([DAY] * 75)
    assert not watched.logged("tls.expiring")
    watched.clock.pump([3600] * 96)
    assert [warning["days"] for warning in watched.logged("tls.expiring")] == [13, 12, 11]
    assert "expires in" in str(watched.logged("tls.expiring")[0]["log_format"])
    watched.clock.pump([DAY] * 13)
    assert "expired" in str(watched.logged("tls.expiring")[-1]["log_format"])


def test_a_certificate_loaded_although_it_expired_is_served_and_warned_of(watched: Watched) -> None:
    write_pair(watched.folder, "live", ["late.example.org"], start=NOW - timedelta(days=9), days=5)
    watched.poll()
    assert watched.served == "CN=late.example.org"
    assert [warning["days"] for warning in watched.logged("tls.expiring")] == [4]


def test_a_fault_does_not_end_the_watch(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    def fault() -> None:
        raise RuntimeError("a fault of ours")

    watched.write("second.example.org")
    with monkeypatch.context() as patched:
        patched.setattr(watched.store, "load", fault)
        watched.poll()
    assert len(watched.logged("tls.fault")) == 1
    watched.poll()
    assert watched.served == "CN=second.example.org"


def test_the_disk_is_read_where_the_caller_says(tmp_path: Path) -> None:
    waiting: list[tuple[Callable[[], object], Deferred[object]]] = []

    def later(function: Callable[[], object]) -> Deferred[object]:
        done: Deferred[object] = Deferred()
        waiting.append((function, done))
        return done

    store = CertificateStore([write_pair(tmp_path, "live", ["a"])])
    watch = CertificateWatch(store, Clock(), later)
    before = store.loaded
    watch.reload()
    ((function, done),) = waiting
    assert store.loaded is before
    done.callback(function())
    assert store.loaded is not before
    watch.stop()  # never started: nothing to do
