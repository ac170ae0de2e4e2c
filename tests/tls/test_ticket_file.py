"""The file of the secret: made, shared, renewed by one of many, and refused where another may have read it."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from mailserver.tls import ticket_file
from mailserver.tls.certificates import CertificateError
from mailserver.tls.ticket_file import TicketFile
from mailserver.tls.tickets import LIFETIME
from tests.servers import ROOT
from tests.tls.test_tickets import BEGIN, Time


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_it_is_made_for_its_user_alone_and_found_again(tmp_path: Path) -> None:
    path = tmp_path / "tickets"
    old = os.umask(0)
    try:
        secret = TicketFile(str(path), Time()).current()
    finally:
        os.umask(old)
    assert mode(path) == 0o600
    assert TicketFile(str(path), Time()).current() == secret
    assert [each.name for each in tmp_path.iterdir()] == ["tickets"]


def test_after_a_day_it_has_another_secret_for_all_who_look(tmp_path: Path) -> None:
    now, path = Time(), str(tmp_path / "tickets")
    one, other = TicketFile(path, now), TicketFile(path, now)
    first = one.current()
    now.now += LIFETIME - 1
    assert other.current() == first
    now.now += 1
    second = other.current()
    # chance, and nothing that follows from the old one
    assert second.octets not in (first.octets, first.at(now.now).octets)
    assert one.current() == second


@pytest.mark.parametrize(("back", "renewed"), [(299, False), (301, True)])
def test_a_secret_of_the_future_is_not_kept_for_ever(tmp_path: Path, back: int, renewed: bool) -> None:
    now = Time()
    file = TicketFile(str(tmp_path / "tickets"), now)
    first = file.current()
    now.now -= back
    assert (file.current() != first) is renewed


def test_of_many_processes_one_renews_and_all_have_the_same(tmp_path: Path) -> None:
    path = tmp_path / "tickets"
    TicketFile(str(path), lambda: BEGIN).current()  # too old for all of them
    program = (
        "import sys; from mailserver.tls.ticket_file import TicketFile\n"
        "sys.stdin.read()\n"
        f"print(hash(TicketFile({str(path)!r}, lambda: {BEGIN + LIFETIME}).current().octets))"
    )
    command = [sys.executable, "-P", "-c", program]
    env = {**os.environ, "PYTHONPATH": ROOT, "PYTHONHASHSEED": "0"}
    started = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, text=True) for _ in range(4)
    ]
    for process in started:  # let go together
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None
    assert len({process.communicate()[0] for process in started}) == 1
    assert [each.name for each in tmp_path.iterdir()] == ["tickets"]


def test_who_waited_for_the_lock_takes_what_the_other_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "tickets")
    written = []

    def other_is_first(folder: int, how: int) -> None:
        if not written:
            written.append(None)
            written.append(TicketFile(path, Time()).current())

    monkeypatch.setattr(ticket_file.fcntl, "flock", other_is_first)
    assert TicketFile(path, Time()).current() == written[1]


def test_it_is_on_the_disk_before_it_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = []
    for name in ("fsync", "rename", "write"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args, _n=name, _r=real, **kw: (done.append(_n), _r(*args, **kw))[1])
    TicketFile(str(tmp_path / "tickets"), Time()).current()
    assert done == ["write", "fsync", "rename", "fsync"]


def test_what_a_crash_left_behind_does_not_stay(tmp_path: Path) -> None:
    (tmp_path / "tickets.new").write_text("half of a fi")
    (tmp_path / "tickets.new").chmod(0o644)
    TicketFile(str(tmp_path / "tickets"), Time()).current()
    assert [each.name for each in tmp_path.iterdir()] == ["tickets"]
    assert mode(tmp_path / "tickets") == 0o600


@pytest.mark.parametrize("bits", [0o640, 0o604, 0o660])
def test_one_that_others_may_read_is_refused_with_the_remedy(tmp_path: Path, bits: int) -> None:
    path = tmp_path / "tickets"
    secret = TicketFile(str(path), Time()).current()
    path.chmod(bits)
    with pytest.raises(CertificateError, match=r"tickets: it is not a file of the user .* delete it") as caught:
        TicketFile(str(path), Time()).current()
    assert secret.octets.hex() not in str(caught.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_another_user_s_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tickets"
    TicketFile(str(path), Time()).current()
    os.chown(path, 65534, 65534)
    with pytest.raises(CertificateError, match="owner 65534"):
        TicketFile(str(path), Time()).current()


def test_neither_a_link_nor_a_pipe_nor_anything_else_is_taken_for_it(tmp_path: Path) -> None:
    TicketFile(str(tmp_path / "real"), Time()).current()
    (tmp_path / "link").symlink_to("real")
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "text").write_text("hello\n")
    (tmp_path / "text").chmod(0o600)
    (tmp_path / "long").write_bytes((tmp_path / "real").read_bytes() * 2)
    (tmp_path / "long").chmod(0o600)
    (tmp_path / "folder").mkdir(mode=0o700)
    for name in ("link", "pipe", "text", "long", "folder"):
        with pytest.raises(CertificateError) as caught:
            TicketFile(str(tmp_path / name), Time()).current()
        assert caught.value.remedy
    assert (tmp_path / "text").read_text() == "hello\n"


def test_a_folder_that_is_not_there_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match=r"its folder is not there; .*install -d -m 700 -o USER"):
        TicketFile(str(tmp_path / "none" / "tickets"), Time()).current()
