from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs, globalLogPublisher

from mailserver.pool import Pool
from mailserver.tls.certificate_store import CertificateStore
from mailserver.tls.certificates import CertificateFiles
from mailserver.tls.context_control import can_set_ticket_keys
from mailserver.tls.renewal import DAY, CertificateWatch, remarks
from mailserver.tls.ticket_file import TicketFile
from tests.tls.authority import Authority
from tests.tls.handshakes import certificate_of, common_name, connect, write_pair

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


def test_a_load_that_a_stop_keeps_from_beginning_is_no_fault(tmp_path: Path) -> None:
    store = CertificateStore([write_pair(tmp_path, "live", ["a"])])
    stopped: Pool = Pool(Clock(), 1, 10, "certificates")
    watch = CertificateWatch(store, Clock(), stopped.run)
    before = store.loaded
    with capturedLogs() as events:
        reloaded = watch.reload()
    assert reloaded.called
    assert events == []
    assert store.loaded is before


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


class Several(Watched):
    """Three pairs, with authorities for clients, and a host name that none is for."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.authority = Authority(folder)
        files = [self.write(f"{stem}.example.org", stem) for stem in ("a", "b", "c")]
        self.store = CertificateStore(files, client_ca=str(self.authority.file))
        self.watch = CertificateWatch(
            self.store, self.clock, maybeDeferred, now=NOW.timestamp, hostname="c.example.org"
        )

    def serial(self, stem: str) -> int:
        return certificate_of(connect(self.store, f"{stem}.example.org".encode())).serial_number


@pytest.fixture
def several(tmp_path: Path) -> object:
    made = Several(tmp_path)
    globalLogPublisher.addObserver(made.events.append)
    made.watch.start()
    yield made
    made.watch.stop()
    globalLogPublisher.removeObserver(made.events.append)


def _gone(several: Several) -> Path:
    path = several.folder / "b.key"
    path.unlink()
    return path


def _torn(several: Several) -> Path:
    path = several.folder / "b.pem"
    path.write_bytes(b"torn")
    return path


def _unusable(several: Several) -> Path:
    write_pair(several.folder, "b", ["b.example.org"], start=NOW, key=ec.generate_private_key(ec.SECP256K1()))
    return several.folder / "b.key"


@pytest.mark.parametrize("spoil", [_gone, _torn, _unusable])
@pytest.mark.parametrize("forced", [False, True])
def test_a_pair_that_fails_keeps_no_other_from_being_renewed(
    several: Several, spoil: Callable[[Several], Path], forced: bool
) -> None:
    before = {stem: several.serial(stem) for stem in "abc"}
    file = spoil(several)
    for stem in "ac":
        several.write(f"{stem}.example.org", stem)
    if forced:
        several.watch.reload()
    several.poll(5)
    assert {stem for stem in "abc" if several.serial(stem) == before[stem]} == {"b"}
    (report,) = several.logged("tls.broken")
    assert report["file"] == str(file)
    told = several.logged("tls.loaded")
    assert [event["files"] for event in told] == [[str(several.folder / f"{stem}.pem") for stem in "ac"]]
    several.write("b.example.org", "b")
    several.poll()
    assert several.serial("b") != before["b"]


def test_a_pair_that_fails_leaves_the_keys_of_the_tickets_alone(several: Several) -> None:
    _gone(several)
    before = several.store.loaded
    several.poll(5)
    assert several.store.loaded is before


def test_authorities_that_fail_stay_and_the_pairs_are_renewed(several: Several) -> None:
    before = several.serial("a")
    several.authority.file.write_bytes(b"torn")
    several.write("a.example.org", "a")
    several.poll(2)
    assert several.serial("a") != before
    assert [report["file"] for report in several.logged("tls.broken")] == [str(several.authority.file)]
    several.authority.file.write_bytes(Authority(several.folder, "Other CA").file.read_bytes())
    several.poll()
    assert several.store.loaded.stamp == several.store.stamp()


def doubts(events: list[dict[str, object]]) -> list[tuple[object, object]]:
    return [(e["file"], str(e["reason"])) for e in events if e.get("event") == "tls.doubtful"]


def test_what_clients_will_stumble_over_is_told_at_the_start_and_at_each_renewal(several: Several) -> None:
    assert doubts(several.events) == []
    leaf = Authority(several.folder, "Signer").client(names=("c.example.org",))
    shutil.copy(leaf.certificate, several.folder / "c.pem")
    shutil.copy(leaf.key, several.folder / "c.key")
    write_pair(several.folder, "b", ["b.example.org"], start=NOW + timedelta(days=3))
    several.poll()
    folder = str(several.folder)
    young = (f"{folder}/b.pem", "is not valid before 2026-06-04 00:00 UTC")
    alone = (f"{folder}/c.pem", "comes without its issuer's certificate, so clients cannot verify it")
    assert {young, alone} <= set(doubts(several.events))
    with (several.folder / "c.pem").open("ab") as chain:
        chain.write((several.folder / "Signer.pem").read_bytes())
    several.events.clear()
    several.poll()
    assert young in doubts(several.events)
    assert alone not in doubts(several.events)


def test_a_host_name_that_no_certificate_is_for_is_told(several: Several) -> None:
    wild = several.store.load()
    assert list(remarks(wild, NOW.timestamp(), "c.example.org")) == []
    ((file, reason, remedy),) = remarks(wild, NOW.timestamp(), "d.example.org")
    assert (file, reason) == (str(several.folder / "a.pem"), "is not for d.example.org, the hostname of the settings")
    assert remedy


def test_versions_of_tls_that_no_client_can_use_are_told(tmp_path: Path) -> None:
    files = write_pair(tmp_path, "a", ["a"], start=NOW, key=ed25519.Ed25519PrivateKey.generate())
    ((_, reason, _remedy),) = remarks(CertificateStore([files], "old").loaded, NOW.timestamp(), "")
    assert reason == "cannot be used in TLS 1.0, TLS 1.1"


def with_tickets(watched: Watched) -> Path:
    """The watch on a store whose secret is in a file, by the watch's own time."""
    if not can_set_ticket_keys():
        pytest.skip("this OpenSSL takes no keys")
    watched.watch.stop()
    path = watched.folder / "tickets"
    now = lambda: NOW.timestamp() + watched.clock.seconds()  # noqa: E731
    watched.store = CertificateStore(watched.store.files, tickets=TicketFile(str(path), now))
    watched.watch = CertificateWatch(watched.store, watched.clock, maybeDeferred, 60, now)
    watched.watch.start()
    return path


def test_a_secret_of_tickets_that_another_process_has_renewed_is_noticed_by_the_next_poll(watched: Watched) -> None:
    path = with_tickets(watched)
    before = watched.store.loaded
    watched.poll(3)
    assert watched.store.loaded is before
    path.unlink()
    other = TicketFile(str(path), lambda: NOW.timestamp() + watched.clock.seconds()).current()
    watched.poll()
    assert watched.store.loaded.tickets == other != before.tickets
    assert not watched.logged("tls.loaded")  # no certificate is new


def test_the_secret_of_tickets_is_renewed_in_time(watched: Watched) -> None:
    path = with_tickets(watched)
    before, contents = watched.store.loaded.tickets, path.read_bytes()
    watched.poll(24 * 60 + 1)
    assert watched.store.loaded.tickets != before
    assert path.read_bytes() != contents


def test_a_file_of_tickets_that_others_can_read_is_reported_once_and_the_secret_in_use_stays(watched: Watched) -> None:
    path = with_tickets(watched)
    before = watched.store.loaded.tickets
    path.chmod(0o644)
    watched.poll(5)
    (report,) = watched.logged("tls.broken")
    assert report["file"] == str(path)
    assert watched.store.loaded.tickets == before
    assert before is not None
    assert before.octets.hex() not in str(watched.events)
    watched.write("second.example.org")  # and certificates are renewed nevertheless
    watched.poll()
    assert watched.served == "CN=second.example.org"
    path.unlink()
    watched.poll()
    assert watched.store.loaded.tickets != before
