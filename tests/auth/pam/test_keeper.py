"""The second process's work, in this one: what is asked has been written before it begins, and then the lines end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mailserver.pam import keeper
from mailserver.pam.keeper import Keeper, how
from mailserver.pam.libpam import Libraries
from mailserver.pam.login import Policy
from tests.auth.pam.stacks import SERVICE, alive, of_probe

LIBRARIES = Libraries()


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """As they were before: this process has other children, and a reactor."""
    handler, descriptor = signal.getsignal(signal.SIGCHLD), signal.set_wakeup_fd(-1)
    yield
    signal.signal(signal.SIGCHLD, handler)
    signal.set_wakeup_fd(descriptor)


def served(folder: Path, *requests: dict[str, Any], anew: bool = False) -> list[dict[str, Any]]:
    """The answers to these requests, each on a line of its own, in the order of the lines."""
    pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in requests]
    answers = []
    try:
        for number, (request, (own, _)) in enumerate(zip(requests, pairs, strict=True)):
            if request:
                own.send(json.dumps({"number": number, "until": time.monotonic() + 60, **request}).encode())
            own.shutdown(socket.SHUT_WR)
        policy = Policy(SERVICE, str(folder), 1000, len(pairs))
        Keeper(policy, [other for _, other in pairs], LIBRARIES).serve(anew=anew)
        for own, other in pairs:
            other.close()
            while datagram := own.recv(8192):
                answers.append(json.loads(datagram))
    finally:
        for pair in pairs:
            for each in pair:
                each.close()
    return answers


def test_a_login_is_answered(tmp_path: Path) -> None:
    alice = {"ask": "login", "name": "alice", "password": "x", "peer": ""}
    taken = {"number": 0, "verdict": "taken", "user": "alice", "home": ""}
    assert served(of_probe(tmp_path, ""), alice) == [taken]


def test_trouble_is_told(tmp_path: Path) -> None:
    (answer,) = served(of_probe(tmp_path, "result=9"), {"ask": "login", "name": "alice", "password": "x", "peer": ""})
    assert answer["verdict"] == "trouble"


def test_a_fault_of_a_child_is_told(tmp_path: Path) -> None:
    told = "a module ended its process (status 1)"
    assert served(of_probe(tmp_path, ""), {"ask": "login"}) == [{"number": 0, "verdict": "trouble", "reason": told}]


def test_who_hangs_is_killed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    stack = of_probe(tmp_path, f"record={tmp_path}/record", f"wait={tmp_path}/fifo")
    request = {"ask": "login", "name": "alice", "password": "x", "peer": "", "until": time.monotonic() + 0.5}
    (answer,) = served(stack, request)
    assert answer["reason"] == "a module did not answer in time"
    pids = [int(line.split("|")[0]) for line in (tmp_path / "record").read_text().splitlines()]
    assert not any(map(alive, pids))


def test_the_end_of_a_line_ends_all_that_runs(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    stack = of_probe(tmp_path, "", f"wait={tmp_path}/fifo")
    assert not served(stack, {"ask": "login", "name": "alice", "password": "x", "peer": ""}, {})


def test_late_requests_are_left_and_lost_ones_told(tmp_path: Path) -> None:
    assert served(tmp_path, {"ask": "check", "until": 0}, anew=True) == [{"verdict": "lost"}]


def test_an_end_is_told_by_its_name() -> None:
    assert how(signal.SIGKILL) == "SIGKILL"
    assert how(3 << 8) == "status 3"


def test_the_first_process_forks_again_whoever_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    statuses = iter([9, 256, 0])
    monkeypatch.setattr(keeper, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(os, "fork", lambda: 4711)
    monkeypatch.setattr(os, "waitpid", lambda pid, _: (pid, next(statuses)))
    keeper.keep(Keeper(Policy(SERVICE, "", 1000, 0), [], LIBRARIES))
    assert next(statuses, None) is None


def test_the_program_says_which_library_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Keeper] = []
    monkeypatch.setattr(keeper, "prepare", lambda: None)
    monkeypatch.setattr(keeper, "keep", kept.append)
    policy = json.dumps({"service": SERVICE, "folder": "", "min_uid": 1000, "lines": 0})
    keeper.main(policy)

    def missing() -> Libraries:
        raise OSError("libpam.so.0: cannot open shared object file")

    monkeypatch.setattr(keeper, "Libraries", missing)
    keeper.main(policy)
    assert isinstance(kept[0].libraries, Libraries)
    assert "install libpam0g" in str(kept[1].libraries)


def test_it_loads_nothing_but_python_and_itself() -> None:
    """Neither Twisted nor anything else of ours or of others."""
    shown = "import sys; sys.path.append(sys.argv[1]); import mailserver.pam.keeper; print(*sys.modules)"
    command = [sys.executable, "-I", "-S", "-B", "-c", shown, keeper.FOLDER]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    others = {name for name in loaded if name.partition(".")[0] not in sys.stdlib_module_names} - {"__main__"}
    assert others == {"mailserver", *(f"mailserver.pam{name}" for name in ("", ".keeper", ".libpam", ".login"))}
